package insn

import (
	"encoding/binary"
	"strconv"
	"strings"

	"godwit/cpu/isa"
)

// This file makes vectors from the instruction table. Everything is random but
// addresses: they are aimed at the memory there is, or just beside it.

// skip are operations that a process cannot execute, that depend on more than
// State, or whose branches would lead astray.
var skip = map[string]bool{}

func init() {
	for _, s := range strings.Fields(`callfar cli clzero cpuid cldemote clgi clrssbsy fwait in incssp ins int int1 int3 into
		iret jmpfar lar lds les lfs lgs lss lsl monitorx mwaitx monitor mwait movfromseg movtoseg movdir64b out outs popf
		rdfsbase rdgsbase rdpid rdpkru rdpmc rdrand rdseed rdtsc rdtscp ret retfar rstorssp saveprevssp setssbsy serialize sgdt sidt
		sldt smsw sti str syscall sysenter sysexit sysret tpause ud0 ud1 ud2 umonitor umwait verr verw wrfsbase wrgsbase
		wrpkru xabort xbegin xend xgetbv xrstor xsave xsavec xsaveopt xtest xsetbv fxsave fxrstor vmcall vmmcall vmfunc stgi
		rcpps rcpss rsqrtps rsqrtss call`) {
		skip[s] = true
	}
}

// Generate makes up to n vectors for each encoding that one is to have; seed
// makes them different.
func Generate(n int, seed uint32) (list []Vector) {
	r := rng(seed)
	for row := 1; row < len(isa.Rows); row++ {
		if !wanted(&isa.Rows[row]) {
			continue
		}
		for got, try := 0, 0; got < n && try < 20*n; try++ {
			seed++
			if v, ok := generate(&r, row, seed); ok {
				list = append(list, v)
				got++
			}
		}
	}
	return list
}

func wanted(row *isa.Row) bool {
	const not = isa.AttrCPL0 | isa.AttrX87 | isa.AttrAVX
	if row.Attrs&not != 0 || skip[row.Text] || row.Attrs&isa.AttrBranch != 0 && !strings.Contains(row.Enc, "cb") {
		return false
	}
	for _, a := range row.Args {
		switch a {
		case isa.ArgSreg, isa.ArgCR, isa.ArgDR, isa.ArgFar:
			return false
		}
	}
	return true
}

// coder puts an encoding together.
type coder struct {
	r      *rng
	out    []byte
	rex    byte // W R X B
	needs  bool // a REX prefix, even an empty one
	vex    bool
	pp     byte
	vmap   byte
	legacy []byte // prefixes
	opsize int
	disp   int // offset of a 32-bit displacement without base, or 0
}

// few makes four bits of which few are set.
func (r *rng) few() byte {
	a, b := byte(r.n(16)), byte(r.n(16))
	return a & b
}

// generate makes one instruction of a row.
func generate(r *rng, row int, seed uint32) (v Vector, ok bool) {
	t := &isa.Rows[row]
	c := coder{r: r, opsize: 4, rex: r.few(), needs: r.n(4) == 0}
	if r.n(2) == 0 {
		c.rex &= 7
	}
	c.free(t)
	for _, tok := range strings.Fields(t.Enc) {
		if !c.token(tok) {
			return v, false
		}
	}
	v = Vector{Code: c.finish(), Seed: seed}
	var in isa.Inst
	if len(v.Code) > 15 || isa.Decode(v.Code, isa.Mode64, &in) != isa.OK || int(in.Row) != row || int(in.Len) != len(v.Code) {
		return v, false
	}
	return v, v.aim(r, &in, c.disp)
}

// free chooses prefixes that the encoding does not fix.
func (c *coder) free(t *isa.Row) {
	branch := t.Attrs&isa.AttrBranch != 0
	if !strings.HasPrefix(t.Enc, "NP") && !strings.HasPrefix(t.Enc, "66") && !branch && c.r.n(4) == 0 {
		c.legacy = append(c.legacy, 0x66)
		c.opsize = 2
	}
	if t.Attrs&isa.AttrString != 0 {
		c.legacy = append(c.legacy, [][]byte{nil, {0xf3}, {0xf2}}[c.r.n(3)]...)
	}
	if c.r.n(16) == 0 && !branch {
		c.legacy = append(c.legacy, 0x67)
	}
	if t.Attrs&isa.AttrLock != 0 && c.r.n(6) == 0 {
		c.legacy = append(c.legacy, 0xf0)
	}
}

// token encodes one word of the encoding column of x86.tab.
func (c *coder) token(tok string) bool {
	switch tok {
	case "NP", "NFx":
	case "66", "F3", "F2":
		if len(c.out) == 0 && !c.vex {
			b, _ := strconv.ParseUint(tok, 16, 8)
			c.legacy = append(c.legacy, byte(b))
			return true
		}
		return c.opcode(tok)
	case "W0":
		c.rex &^= 8
	case "REX.B0":
		c.rex &^= 1
	case "W1":
		c.rex |= 8
	case "/r":
		c.modrm(byte(c.r.n(8)), false)
	case "ib":
		c.out = append(c.out, byte(pick(c.r, []uint64{c.r.next(), c.r.next() & 15})))
	case "cb":
		c.out = append(c.out, byte(pick(c.r, []int{16 + c.r.n(112), -17 - c.r.n(112)})))
	case "iw":
		c.imm(2)
	case "iz":
		c.imm(c.size(4))
	case "iv":
		c.imm(c.size(8))
	case "mo":
		c.disp = -1
		c.imm(8)
	default:
		return c.other(tok)
	}
	return true
}

func (c *coder) other(tok string) bool {
	switch {
	case strings.HasPrefix(tok, "VEX.LZ."):
		f := strings.Split(tok, ".")
		c.vex, c.pp, c.vmap = true, map[string]byte{"NP": 0, "66": 1, "F3": 2, "F2": 3}[f[2]], map[string]byte{"0F": 1, "0F38": 2, "0F3A": 3}[f[3]]
	case strings.HasPrefix(tok, "/") && len(tok) >= 2:
		n := tok[1] - '0'
		if n > 7 {
			return false
		}
		c.rex &^= 4
		c.modrm(n, strings.HasSuffix(tok, ":11"))
	default:
		return c.opcode(tok)
	}
	return true
}

func (c *coder) opcode(tok string) bool {
	b, err := strconv.ParseUint(tok[:2], 16, 8)
	if err != nil {
		return false
	}
	switch tok[2:] {
	case "+r":
		b |= uint64(c.r.n(8))
	case "+cc":
		b |= uint64(c.r.n(16))
	case "":
	default:
		return false
	}
	c.out = append(c.out, byte(b))
	return true
}

// size of an immediate that depends on the operand size.
func (c *coder) size(most int) int {
	switch {
	case c.rex&8 != 0:
		return most
	case c.opsize == 2:
		return 2
	}
	return 4
}

func (c *coder) imm(n int) {
	v := c.r.integer()
	for i := 0; i < n; i++ {
		c.out = append(c.out, byte(v>>(8*i)))
	}
}

// modrm chooses a register or a shape of memory operand.
func (c *coder) modrm(reg byte, register bool) {
	rm := byte(c.r.n(8))
	if register || c.r.n(2) == 0 {
		c.out = append(c.out, 3<<6|reg<<3|rm)
		return
	}
	mod := byte(c.r.n(3))
	c.out = append(c.out, mod<<6|reg<<3|rm)
	none := mod == 0 && rm == 5
	if rm == 4 {
		sib := byte(c.r.n(256))
		c.out = append(c.out, sib)
		none = mod == 0 && sib&7 == 5
	}
	switch {
	case none:
		c.disp = len(c.out)
		c.imm(4)
	case mod == 1:
		c.imm(1)
	case mod == 2:
		c.imm(4)
	}
}

// finish puts the prefixes before opcode and operands.
func (c *coder) finish() []byte {
	var p []byte
	for _, b := range c.legacy {
		if !c.vex || b == 0x67 {
			p = append(p, b)
		}
	}
	switch {
	case c.vex:
		p = append(p, 0xc4, ^c.rex&7<<5|c.vmap, c.rex&8<<4|byte(c.r.n(16))<<3|c.pp)
	case c.rex != 0 || c.needs:
		p = append(p, 0x40|c.rex)
	}
	if c.disp > 0 {
		c.disp += len(p)
	}
	return append(p, c.out...)
}

// aim sets registers, or the displacement, so that memory operands meet memory.
func (v *Vector) aim(r *rng, in *isa.Inst, disp int) bool {
	t := in.R()
	want := v.address(r, in)
	switch {
	case t.Attrs&isa.AttrString != 0:
		v.set(6, DataBase+0x1000+uint64(r.n(64)))
		v.set(7, DataBase+0xfc0+uint64(r.n(64)))
		v.set(1, uint64(r.n(6))|r.next()&0xffffffff00000000*uint64(in.AddrSize>>2&1))
	case in.Op == isa.XLAT:
		v.set(3, DataBase+dataAt)
	case in.Op == isa.MASKMOVQ || in.Op == isa.MASKMOVDQU:
		v.set(7, want)
	case in.Op == isa.LEAVE || in.Op == isa.ENTER:
		v.set(5, stackTop+uint64(r.n(3))*8)
	case disp < 0:
		at := len(v.Code) - int(in.AddrSize)
		if in.AddrSize == 8 {
			binary.LittleEndian.PutUint64(v.Code[at:], want)
		} else {
			binary.LittleEndian.PutUint32(v.Code[at:], uint32(want))
		}
	case in.Flags&isa.FlagMem != 0 && !v.aimModRM(r, in, disp, want):
		return false
	}
	v.special(r, in)
	return v.sane(in)
}

func (v *Vector) set(n uint8, x uint64) { v.Set = append(v.Set, RegValue{N: n, V: x}) }

// address is where the memory operand shall be: mostly aligned and mapped.
func (v *Vector) address(r *rng, in *isa.Inst) uint64 {
	switch r.n(24) {
	case 0:
		return DataBase + DataSize - uint64(1+r.n(16)) // off the end
	case 1:
		return DataBase - uint64(1+r.n(32))
	case 2:
		if in.AddrSize == 8 {
			return 0x800000001000 + uint64(r.n(64))
		}
	case 3:
		return DataBase + 0x1000 - uint64(1+r.n(15)) // across pages
	case 4, 5, 6, 7:
		return DataBase + 0xf80 + uint64(r.n(256))
	}
	return DataBase + 0xf80 + 16*uint64(r.n(12))
}

func (v *Vector) aimModRM(r *rng, in *isa.Inst, disp int, want uint64) bool {
	index := uint64(0)
	if in.Index != isa.RegZero {
		if in.Index == in.Base {
			return false
		}
		index = uint64(r.n(32)) - 8
		if in.AddrSize == 4 {
			index = index&0xffffffff | r.next()<<32
		}
		v.set(in.Index, index)
		index <<= in.Scale
	}
	switch {
	case in.Base == isa.RegRIP:
		binary.LittleEndian.PutUint32(v.Code[disp:], uint32(want-CodeRIP-uint64(in.Len)))
		return want>>32 == 0
	case in.Base == isa.RegZero:
		binary.LittleEndian.PutUint32(v.Code[disp:], uint32(want-index))
		return want>>32 == 0
	}
	base := want - index - uint64(int64(in.Disp))
	if in.AddrSize == 4 {
		base = base&0xffffffff | r.next()<<32
	}
	v.set(in.Base, base)
	return true
}

// special makes the interesting case of some operations likely.
func (v *Vector) special(r *rng, in *isa.Inst) {
	s, mem := v.Input()
	switch in.Op {
	case isa.DIV, isa.IDIV:
		if r.n(3) != 0 {
			v.set(2, -(s.R[0]>>63)*uint64(r.n(2)))
		}
	case isa.BT, isa.BTS, isa.BTR, isa.BTC:
		if in.Flags&isa.FlagMem != 0 && isa.Rows[in.Row].Args[1] == isa.ArgReg {
			v.set(in.Reg, uint64(r.n(1024))-512)
		}
	case isa.CMPXCHG, isa.CMPXCHG8B, isa.CMPXCHG16B:
		at := v.ea(in, &s) - mem[0].Addr
		if in.Flags&isa.FlagMem == 0 || at > dataLen-16 || r.n(2) == 0 {
			return
		}
		lo, hi := binary.LittleEndian.Uint64(mem[0].Data[at:]), binary.LittleEndian.Uint64(mem[0].Data[at+8:])
		if in.Op == isa.CMPXCHG8B {
			hi = lo >> 32
		}
		v.set(0, lo)
		v.set(2, hi)
	}
}

// ea is the linear address of the ModRM operand.
func (v *Vector) ea(in *isa.Inst, s *State) uint64 {
	reg := func(n uint8) uint64 {
		switch n {
		case isa.RegRIP:
			return CodeRIP + uint64(in.Len)
		case isa.RegZero:
			return 0
		}
		return s.R[n]
	}
	a := reg(in.Base) + reg(in.Index)<<in.Scale + uint64(int64(in.Disp))
	if in.AddrSize == 4 {
		a &= 0xffffffff
	}
	return a
}

// sane tells that no address can be one of the executor's own memory.
func (v *Vector) sane(in *isa.Inst) bool {
	var fresh isa.Inst
	if isa.Decode(v.Code, isa.Mode64, &fresh) != isa.OK || fresh.Row != in.Row {
		return false
	}
	s, _ := v.Input()
	near := func(a uint64) bool { return a-(DataBase-0x400) < DataSize+0x800 || a-0x800000000800 < 0x1000 }
	rsp := s.R[4]
	if rsp-StackBase >= StackSize && (usesStack(&fresh) || !near(rsp)) {
		return false
	}
	switch {
	case fresh.R().Attrs&isa.AttrString != 0:
		mask := ^uint64(0) >> (64 - 8*uint(fresh.AddrSize))
		return near(s.R[6]&mask) && near(s.R[7]&mask) && s.R[1]&mask < 16
	case fresh.Op == isa.XLAT, fresh.Op == isa.MASKMOVQ, fresh.Op == isa.MASKMOVDQU:
		return fresh.AddrSize == 8
	case fresh.Flags&isa.FlagMem != 0 && fresh.R().Args[0] != isa.ArgMoffs && fresh.R().Args[1] != isa.ArgMoffs && fresh.Op != isa.LEA:
		return near(v.ea(&fresh, &s))
	}
	return true
}

func usesStack(in *isa.Inst) bool {
	switch in.Op {
	case isa.PUSH, isa.POP, isa.PUSHF, isa.ENTER, isa.LEAVE:
		return true
	}
	return false
}
