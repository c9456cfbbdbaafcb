package isa

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func unhex(t *testing.T, s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}

// z is an operand without base or index.
var z = Inst{Seg: DS, Base: RegZero, Index: RegZero}

// with returns z with some fields changed.
func with(f func(in *Inst)) Inst {
	in := z
	f(&in)
	return in
}

func TestDecodeFields(t *testing.T) {
	for _, tt := range []struct {
		mode Mode
		code string
		text string
		want Inst // Row, Op, Len and Cond apart
	}{
		{Mode64, "01 d8", "add %ebx,%eax", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Reg = 4, 8, 3 })},
		{Mode64, "4d 01 d8", "add %r11,%r8", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Reg, in.RM = FlagRex|FlagVexW, 8, 8, 11, 8
		})},
		{Mode64, "66 83 c0 80", "add $0xff80,%ax", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Imm = 2, 8, 0xffff_ffff_ffff_ff80 })},
		{Mode64, "04 80", "add $0x80,%al", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Imm = 4, 8, 0x80 })},
		{Mode64, "48 b8 01 02 03 04 05 06 07 88", "movabs $0x8807060504030201,%rax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Imm = FlagRex|FlagVexW, 8, 8, 0x8807060504030201
		})},
		{Mode64, "49 c7 c7 fe ff ff ff", "mov $0xfffffffffffffffe,%r15", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.RM, in.Imm = FlagRex|FlagVexW, 8, 8, 15, 0xffff_ffff_ffff_fffe
		})},
		{Mode64, "8b 44 24 f8", "mov -0x8(%rsp),%eax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Seg, in.Base, in.Disp = FlagMem, 4, 8, SS, 4, -8
		})},
		{Mode64, "8b 45 08", "mov 0x8(%rbp),%eax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Seg, in.Base, in.Disp = FlagMem, 4, 8, SS, 5, 8
		})},
		{Mode64, "41 8b 45 08", "mov 0x8(%r13),%eax", with(func(in *Inst) { // r13 is not rbp: DS
			in.Flags, in.OpSize, in.AddrSize, in.Base, in.Disp = FlagMem|FlagRex, 4, 8, 13, 8
		})},
		{Mode64, "8b 04 6d 10 00 00 00", "mov 0x10(,%rbp,2),%eax", with(func(in *Inst) { // an index does not choose SS
			in.Flags, in.OpSize, in.AddrSize, in.Index, in.Scale, in.Disp = FlagMem, 4, 8, 5, 1, 16
		})},
		{Mode64, "42 8b 04 a0", "mov (%rax,%r12,4),%eax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Base, in.Index, in.Scale = FlagMem|FlagRex, 4, 8, 0, 12, 2
		})},
		{Mode64, "64 48 8b 04 25 28 00 00 00", "mov %fs:0x28,%rax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Seg, in.Disp = FlagMem|FlagRex|FlagVexW|FlagSegOv, 8, 8, FS, 0x28
		})},
		{Mode64, "2e 8b 05 00 00 00 80", "mov -0x80000000(%rip),%eax", with(func(in *Inst) { // CS is ignored
			in.Flags, in.OpSize, in.AddrSize, in.Base, in.Disp = FlagMem, 4, 8, RegRIP, -0x80000000
		})},
		{Mode32, "8b 05 78 56 34 12", "mov 0x12345678,%eax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Disp = FlagMem, 4, 4, 0x12345678
		})},
		{Mode32, "26 64 8b 00", "mov %fs:(%eax),%eax", with(func(in *Inst) { // the last override wins
			in.Flags, in.OpSize, in.AddrSize, in.Seg, in.Base = FlagMem|FlagSegOv, 4, 4, FS, 0
		})},
		{Mode16, "8b 02", "mov (%bp,%si),%ax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Seg, in.Base, in.Index = FlagMem, 2, 2, SS, 5, 6
		})},
		{Mode16, "8b 06 34 82", "mov 0x8234,%ax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Disp = FlagMem, 2, 2, -0x7dcc
		})},
		{Mode16, "66 67 8b 04 88", "mov (%eax,%ecx,4),%eax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Base, in.Index, in.Scale = FlagMem, 4, 4, 0, 1, 2
		})},
		{Mode16, "ea 5b e0 00 f0", "ljmpw $0xf000,$0xe05b", with(func(in *Inst) {
			in.OpSize, in.AddrSize, in.Imm, in.Imm2 = 2, 2, 0xe05b, 0xf000
		})},
		{Mode16, "a1 34 12", "mov 0x1234,%ax", with(func(in *Inst) { in.Flags, in.OpSize, in.AddrSize, in.Imm = FlagMem, 2, 2, 0x1234 })},
		{Mode64, "67 a1 78 56 34 12", "mov 0x12345678,%eax", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Imm = FlagMem, 4, 4, 0x12345678
		})},
		{Mode64, "f3 48 ab", "rep stos %rax,%es:(%rdi)", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize = FlagRep|FlagRex|FlagVexW, 8, 8
		})},
		{Mode64, "65 f2 a6", "repnz cmpsb %es:(%rdi),%gs:(%rsi)", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Seg = FlagRepne|FlagSegOv, 4, 8, GS
		})},
		{Mode64, "f0 48 0f b1 0f", "lock cmpxchg %rcx,(%rdi)", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Reg, in.Base = FlagLock|FlagMem|FlagRex|FlagVexW, 8, 8, 1, 7
		})},
		{Mode64, "50", "push %rax", with(func(in *Inst) { in.OpSize, in.AddrSize = 8, 8 })},
		{Mode64, "66 41 50", "push %r8w", with(func(in *Inst) { in.Flags, in.OpSize, in.AddrSize, in.Reg = FlagRex, 2, 8, 8 })},
		{Mode64, "66 e9 00 00 00 00", "jmp 0x1006", with(func(in *Inst) { in.OpSize, in.AddrSize = 8, 8 })},
		{Mode64, "eb fe", "jmp 0x1000", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Imm = 8, 8, 0xffff_ffff_ffff_fffe })},
		{Mode64, "c8 10 00 01", "enter $0x10,$0x1", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Imm, in.Imm2 = 8, 8, 16, 1 })},
		{Mode64, "44 0f 22 c0", "mov %rax,%cr8", with(func(in *Inst) { in.Flags, in.OpSize, in.AddrSize, in.Reg = FlagRex, 8, 8, 8 })},
		{Mode64, "0f 20 03", "mov %cr0,%rbx", with(func(in *Inst) { in.OpSize, in.AddrSize, in.RM = 8, 8, 3 })}, // mod is ignored
		{Mode64, "40 88 e0", "mov %spl,%al", with(func(in *Inst) { in.Flags, in.OpSize, in.AddrSize, in.Reg = FlagRex, 4, 8, 4 })},
		{Mode64, "88 e0", "mov %ah,%al", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Reg = 4, 8, 4 })},
		{Mode64, "4f 0f 6f c1", "movq %mm1,%mm0", with(func(in *Inst) { in.Flags, in.OpSize, in.AddrSize, in.RM = FlagRex|FlagVexW, 8, 8, 1 })},
		{Mode64, "48 66 01 c8", "add %cx,%ax", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Reg = 2, 8, 1 })}, // REX before 66 is ignored
		{Mode64, "66 f2 0f 2a c1", "cvtsi2sd %ecx,%xmm0", with(func(in *Inst) { in.OpSize, in.AddrSize, in.RM = 4, 8, 1 })},
		{Mode64, "c4 41 35 fc c2", "vpaddb %ymm10,%ymm9,%ymm8", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Reg, in.Vvvv, in.RM = FlagVexL, 4, 8, 8, 9, 10
		})},
		{Mode64, "c4 e2 f9 90 04 a1", "vpgatherdq %xmm0,(%rcx,%xmm4,4),%xmm0", with(func(in *Inst) { // index 4 is xmm4
			in.Flags, in.OpSize, in.AddrSize, in.Base, in.Index, in.Scale = FlagMem|FlagVexW, 8, 8, 1, 4, 2
		})},
		{Mode64, "c4 e3 71 4a c2 30", "vblendvps %xmm3,%xmm2,%xmm1,%xmm0", with(func(in *Inst) {
			in.OpSize, in.AddrSize, in.Vvvv, in.RM, in.Imm = 4, 8, 1, 2, 0x30
		})},
		{Mode32, "c5 00", "lds (%eax),%eax", with(func(in *Inst) { in.Flags, in.OpSize, in.AddrSize, in.Base = FlagMem, 4, 4, 0 })},
		{Mode32, "c5 f8 77", "vzeroupper", with(func(in *Inst) { in.OpSize, in.AddrSize = 4, 4 })},
		{Mode64, "4c 0f c7 08", "cmpxchg16b (%rax)", with(func(in *Inst) {
			in.Flags, in.OpSize, in.AddrSize, in.Reg, in.Base = FlagMem|FlagRex|FlagVexW, 8, 8, 9, 0
		})},
		{Mode64, "66 0f be c8", "movsbw %al,%cx", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Reg = 2, 8, 1 })},
		{Mode64, "d9 c9", "fxch %st(1)", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Reg, in.RM = 4, 8, 1, 1 })},
		{Mode64, "de e9", "fsubrp %st,%st(1)", with(func(in *Inst) { in.OpSize, in.AddrSize, in.Reg, in.RM = 4, 8, 5, 1 })}, // Intel's FSUBP
	} {
		t.Run(tt.code, func(t *testing.T) {
			code := unhex(t, tt.code)
			var in Inst
			require.Equal(t, OK, Decode(code, tt.mode, &in))
			assert.Equal(t, tt.text, in.Text(0x1000))
			assert.Equal(t, len(code), int(in.Len))
			tt.want.Row, tt.want.Op, tt.want.Len, tt.want.Cond = in.Row, in.R().Op, in.Len, in.Cond
			assert.Equal(t, tt.want, in)
		})
	}
}

func TestDecodeStatus(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode Mode
		code string
		want Status
	}{
		{"nothing", Mode64, "", Truncated},
		{"prefixes only", Mode64, "66 f3 48", Truncated},
		{"fourteen prefixes and an opcode", Mode64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", OK},
		{"fifteen prefixes", Mode64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", TooLong},
		{"sixteen bytes", Mode64, "66 66 66 66 66 66 66 66 66 66 66 48 81 c0 00 00 00 00", TooLong},
		{"undefined, sixteen bytes", Mode64, "36 48 48 41 67 c7 ac e8 cb 05 06 0d 6c 31 0c 00", TooLong},
		{"undefined, fifteen bytes", Mode64, "36 36 36 36 36 36 36 36 3e c7 28 0d 6c 31 0c", Invalid},
		{"undefined with LOCK, sixteen bytes", Mode64, "f0 36 3e 67 48 c7 ac e8 cb 05 06 0d 6c 31 0c 00", Invalid},
		{"undefined bit test, sixteen bytes", Mode64, "36 36 36 36 36 36 36 36 36 36 36 36 0f ba 00 ff", TooLong},
		{"push es in 64-bit mode", Mode64, "06", Invalid},
		{"push es", Mode32, "06", OK},
		{"aam in 64-bit mode", Mode64, "d4 0a", Invalid},
		{"far call in 64-bit mode", Mode64, "9a 00 00 00 00 00 00", Invalid},
		{"82 in 64-bit mode", Mode64, "82 c0 01", Invalid},
		{"82", Mode32, "82 c0 01", OK},
		{"syscall", Mode64, "0f 05", OK},
		{"lock with a register", Mode64, "f0 01 c0", Invalid},
		{"lock with memory", Mode64, "f0 01 00", OK},
		{"lock of a load", Mode64, "f0 03 00", Invalid},
		{"lock cmp", Mode64, "f0 39 00", Invalid},
		{"lock mov", Mode64, "f0 89 00", Invalid},
		{"lock bt", Mode64, "f0 0f a3 00", Invalid},
		{"lock bts", Mode64, "f0 0f ab 00", OK},
		{"lock nop", Mode64, "f0 90", Invalid},
		{"lea of a register", Mode64, "8d c0", Invalid},
		{"mov to cs", Mode64, "8e c8", Invalid},
		{"mov from segment 6", Mode64, "8c f0", Invalid},
		{"pop /1", Mode64, "8f c8", Invalid},
		{"grp5 /7", Mode64, "ff f8", Invalid},
		{"lds in 64-bit mode is VEX", Mode64, "c5 00", Truncated},
		{"66 before VEX", Mode64, "66 c5 f8 77", Invalid},
		{"rep before VEX", Mode64, "f3 c5 f8 77", Invalid},
		{"rex before VEX", Mode64, "48 c5 f8 77", Invalid},
		{"lock before VEX", Mode64, "f0 c5 f8 77", Invalid},
		{"vvvv unused but set", Mode64, "c5 e8 77", Invalid},
		{"VEX map 4", Mode64, "c4 e4 78 77", Invalid},
		{"jmpe", Mode64, "0f b8 c0", Invalid},
		{"popcnt", Mode64, "f3 0f b8 c0", OK},
		{"ud2", Mode64, "0f 0b", OK},
		{"rdtsc", Mode16, "0f 31", OK},
		{"swapgs outside 64-bit mode", Mode32, "0f 01 f8", Invalid},
		{"clac with 66", Mode64, "66 0f 01 ca", Invalid},
		{"truncated displacement", Mode64, "8b 80 00 00 00", Truncated},
		{"truncated SIB", Mode64, "8b 04", Truncated},
		{"truncated immediate", Mode64, "48 b8 00 00 00 00 00 00 00", Truncated},
		{"truncated VEX", Mode64, "c4 e2 79", Truncated},
		{"truncated 0f", Mode64, "0f", Truncated},
		{"truncated 0f 38", Mode64, "0f 38", Truncated},
		{"gather without SIB", Mode64, "c4 e2 f9 90 01", Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var in Inst
			assert.Equal(t, tt.want, Decode(unhex(t, tt.code), tt.mode, &in), "%s", in.Op)
		})
	}
}

func TestOps(t *testing.T) {
	for _, tt := range []struct {
		mode Mode
		code string
		want Op
	}{
		{Mode64, "90", NOP},
		{Mode64, "f3 90", PAUSE},
		{Mode64, "41 90", XCHG}, // xchg r8, rax
		{Mode64, "87 c0", XCHG},
		{Mode64, "0f 1f 00", NOP},
		{Mode64, "f3 0f 1e fa", ENDBR64},
		{Mode64, "f3 0f 1e c8", NOP}, // RDSSP without shadow stacks
		{Mode64, "0f bc c0", BSF},
		{Mode64, "f2 0f bc c0", BSF},
		{Mode64, "f3 0f bc c0", TZCNT},
		{Mode64, "a5", MOVS},
		{Mode64, "f2 0f 10 c1", MOVSD},
		{Mode64, "f2 0f c2 c1 00", CMPSD},
		{Mode64, "a7", CMPS},
		{Mode64, "63 c0", MOVSXD},
		{Mode32, "63 c0", ARPL},
		{Mode64, "d0 f0", SHL}, // the undocumented /6
		{Mode64, "f6 c8 01", TEST},
		{Mode64, "f2 0f 38 f0 c1", CRC32},
		{Mode64, "0f 38 f0 01", MOVBE},
		{Mode64, "66 0f 38 f0 01", MOVBE},
		{Mode64, "66 f2 0f 38 f1 c1", CRC32},
		{Mode64, "0f ae e8", LFENCE},
		{Mode64, "0f ae 28", XRSTOR},
		{Mode64, "66 0f ae 38", CLFLUSHOPT},
		{Mode64, "0f 01 f8", SWAPGS},
		{Mode64, "0f 01 38", INVLPG},
		{Mode64, "66 48 0f 6e c0", MOVQ},
		{Mode64, "66 0f 6e c0", MOVD},
		{Mode64, "0f 12 c1", MOVHLPS},
		{Mode64, "0f 12 01", MOVLPS},
		{Mode64, "df e0", FNSTSW},
		{Mode64, "0f c7 f0", RDRAND},
		{Mode64, "66 0f c7 f0", RDRAND},
		{Mode64, "f3 0f c7 f8", RDPID},
		{Mode64, "48 0f c7 08", CMPXCHG16B},
		{Mode32, "c4 e2 78 f2 c0", ANDN},
	} {
		t.Run(tt.code, func(t *testing.T) {
			var in Inst
			require.Equal(t, OK, Decode(unhex(t, tt.code), tt.mode, &in))
			assert.Equal(t, tt.want, in.Op, "want %s, have %s", tt.want, in.Op)
		})
	}
}

func TestFallback(t *testing.T) {
	for _, tt := range []struct {
		code string
		want Op
	}{
		{"f3 0f bc c8", BSF},
		{"f3 0f bd c8", BSR},
		{"f3 0f 09", WBINVD},
	} {
		var in Inst
		require.Equal(t, OK, Decode(unhex(t, tt.code), Mode64, &in))
		require.NotZero(t, in.R().Attrs&AttrFallback)
		require.True(t, in.Fallback())
		assert.Equal(t, tt.want, in.Op)
		assert.Equal(t, tt.want, in.R().Op)
		assert.False(t, in.Fallback())
	}
}

func TestFlagsRead(t *testing.T) {
	const all = FlagCF | FlagPF | FlagAF | FlagZF | FlagSF | FlagOF
	for _, tt := range []struct {
		code string
		want uint16
	}{
		{"11 c0", FlagCF},                   // adc
		{"01 c0", 0},                        // add
		{"74 00", FlagZF},                   // je
		{"7f 00", FlagZF | FlagSF | FlagOF}, // jg
		{"0f 92 c0", FlagCF},                // setb
		{"d3 e0", all},                      // shl cl: a count of 0 keeps the flags
		{"c1 e0 03", 0},                     // shl 3
		{"c1 e0 20", all},                   // shl 32 is shl 0
		{"48 c1 e0 20", 0},                  // shl 32 of 64 bits
		{"c1 d0 01", FlagCF},                // rcl 1
		{"a6", FlagDF},                      // cmpsb
		{"f3 a6", FlagDF | all},             // repe cmpsb may run 0 times
	} {
		var in Inst
		require.Equal(t, OK, Decode(unhex(t, tt.code), Mode64, &in))
		assert.Equal(t, tt.want, in.FlagsRead(), tt.code)
	}
}

func TestArgSize(t *testing.T) {
	for _, tt := range []struct {
		mode Mode
		code string
		want [3]int
	}{
		{Mode64, "48 01 08", [3]int{8, 8, 0}},
		{Mode64, "0f b6 00", [3]int{4, 1, 0}},
		{Mode64, "48 63 00", [3]int{8, 4, 0}},
		{Mode64, "66 63 00", [3]int{2, 2, 0}},
		{Mode64, "48 ff 18", [3]int{10, 0, 0}}, // lcall m16:64
		{Mode16, "c4 00", [3]int{2, 4, 0}},     // les
		{Mode64, "0f 01 10", [3]int{10, 0, 0}}, // lgdt
		{Mode32, "66 0f 01 10", [3]int{6, 0, 0}},
		{Mode32, "62 00", [3]int{4, 8, 0}}, // bound
		{Mode64, "66 48 ed", [3]int{4, 2, 0}},
		{Mode64, "48 8d 00", [3]int{8, 0, 0}},
		{Mode64, "f2 48 0f 2c c0", [3]int{8, 8, 0}},
		{Mode64, "c5 fc 58 c0", [3]int{32, 32, 32}},
		{Mode64, "c5 f8 58 c0", [3]int{16, 16, 16}},
	} {
		var in Inst
		require.Equal(t, OK, Decode(unhex(t, tt.code), tt.mode, &in))
		assert.Equal(t, tt.want, [3]int{in.ArgSize(0), in.ArgSize(1), in.ArgSize(2)}, tt.code)
	}
}

// TestAttrs checks the attributes that engines rely on to end blocks.
func TestAttrs(t *testing.T) {
	const none Attr = 0
	want := map[Op]Attr{
		MOV: none, ADD: none, JMP: AttrBranch, CALL: AttrBranch, JCC: AttrBranch,
		HLT: AttrCPL0 | AttrEnd, STI: AttrEnd, CLI: AttrEnd, POPF: AttrEnd, IN: AttrEnd, WRMSR: AttrCPL0 | AttrEnd,
		MOVTOCR: AttrCPL0 | AttrEnd, MOVFROMCR: AttrCPL0, IRET: AttrBranch | AttrEnd, INT: AttrBranch | AttrEnd,
		SYSCALL: AttrBranch | AttrEnd | AttrNoReal, LGDT: AttrCPL0 | AttrEnd, MOVTOSEG: AttrEnd,
		MOVS: AttrString, INS: AttrString | AttrEnd, LLDT: AttrNoReal | AttrCPL0 | AttrEnd,
		FADD: AttrX87, ADDPS: AttrSSE, VADDPS: AttrAVX | AttrNoReal, ANDN: AttrNoReal, EMMS: AttrMMX, CVTPI2PS: AttrSSE | AttrMMX,
	}
	seen := map[Op]bool{}
	for i := range Rows {
		r := &Rows[i]
		w, ok := want[r.Op]
		if !ok {
			continue
		}
		seen[r.Op] = true
		assert.Equal(t, w, r.Attrs&^AttrLock, "%s %s", r.Op, r.Enc)
	}
	assert.Len(t, seen, len(want))
}
