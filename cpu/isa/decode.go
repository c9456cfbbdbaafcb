package isa

//go:generate go run ./gen

// maxLen is the longest instruction [SDM 2 2.3.11].
const maxLen = 15

// Opcode maps, the first index of roots.
const (
	mapOne = iota
	map0F
	map0F38
	map0F3A
	mapVex0F // VEX maps 1 to 3 follow one another
	mapVex0F38
	mapVex0F3A
	numMaps
)

// form is what the decoder needs of a row.
type form struct {
	op   Op
	imm  uint8
	osz  uint8
	bits uint16
}

// Immediate forms.
const (
	none     = iota
	imm8     // 1 byte, zero-extended
	imm8s    // 1 byte, sign-extended
	imm16    // 2 bytes, zero-extended
	immZ     // 2 or 4 bytes by operand size, sign-extended
	immV     // 2, 4 or 8 bytes
	immFar   // offset of 2 or 4 bytes, selector
	immMoffs // address of address size
	immEnter // 2 bytes and 1 byte
)

// Operand size rules.
const (
	oszV   = iota // 66 and REX.W
	oszD64        // 64-bit mode: 8, or 2 with 66
	oszF64        // 64-bit mode: 8
	oszN64        // 8 in 64-bit mode, else 4
	oszZ          // as oszV, at most 4
	oszY          // 4, or 8 with REX.W
	oszA          // the address size
)

// Properties of rows.
const (
	formOpReg   = 1 << iota // the opcode's low bits are Inst.Reg
	formReg3                // REX.R is ignored
	formRM3                 // REX.B is ignored in the register form
	formNoVvvv              // VEX.vvvv must be 1111
	formModRR               // ModRM.mod is ignored: always the register form
	formLock                // LOCK is legal with memory
	formRep                 // F2 and F3 are not part of the opcode
	formVSIB                // the index is a vector register
	formVSIB256             // ... of 256 bits
)

// opSizes holds the operand size by rule, mode, and 66 (2) and REX.W (1).
//
// Near branches in 64-bit mode ignore 66, as Intel's processors do; AMD's do
// not, see amd.go.
var opSizes = [...][3][4]uint8{
	oszV:   {{2, 2, 4, 4}, {4, 4, 2, 2}, {4, 8, 2, 8}},
	oszD64: {{2, 2, 4, 4}, {4, 4, 2, 2}, {8, 8, 2, 8}},
	oszF64: {{2, 2, 4, 4}, {4, 4, 2, 2}, {8, 8, 8, 8}},
	oszN64: {{4, 4, 4, 4}, {4, 4, 4, 4}, {8, 8, 8, 8}},
	oszZ:   {{2, 2, 4, 4}, {4, 4, 2, 2}, {4, 4, 2, 4}},
	oszY:   {{4, 4, 4, 4}, {4, 4, 4, 4}, {4, 8, 4, 8}},
	oszA:   {{2, 2, 2, 2}, {4, 4, 4, 4}, {8, 8, 8, 8}}, // 67 is applied apart
}

// addrSizes holds the address size by mode and 67.
var addrSizes = [3][2]uint8{{2, 4}, {4, 2}, {8, 4}}

// Kinds of prefix bytes; segment overrides are pfxSeg plus the segment.
const (
	pfxNone = iota
	pfx66
	pfx67
	pfxLock
	pfxF2
	pfxF3
	pfxRex
	pfxSeg
)

var prefixes = func() (t [256]uint8) {
	for b := 0x40; b < 0x50; b++ {
		t[b] = pfxRex
	}
	t[0x66], t[0x67], t[0xf0], t[0xf2], t[0xf3] = pfx66, pfx67, pfxLock, pfxF2, pfxF3
	for seg, b := range []byte{ES: 0x26, CS: 0x2e, SS: 0x36, DS: 0x3e, FS: 0x64, GS: 0x65} {
		t[b] = pfxSeg + uint8(seg)
	}
	return t
}()

// The decoder's key: the value of every field that may select an encoding. The
// ModRM byte is bits 7:0.
const (
	keyPfx  = 8  // 0 none, 1: 66, 2: F3, 3: F2
	keyMode = 10 // Mode
	keyW    = 12
	keyL    = 13
	keyB    = 14
)

// decoder is the state of one Decode.
type decoder struct {
	in   *Inst
	code []byte
	pos  int
	node uint32 // of the decision trees
	key  uint32
	mode Mode
	opc  byte // the opcode's last byte
	vvvv byte // VEX.vvvv, all four bits in every mode
	rex  byte // W, R, X, B as in a REX prefix; VEX sets them too
	has66,
	has67 uint8
	rep   uint8 // keyPfx value of the last of F2 and F3
	lock  bool
	vex   bool
	segOv bool
	amd   bool
}

// Decode decodes the instruction at the start of code. It reads no byte it does
// not need: Truncated means that every longer code might be an instruction, or
// #UD, or too long. Only code[:15] is looked at. With a status other than OK,
// in holds nothing of use.
func Decode(code []byte, mode Mode, in *Inst) Status {
	d := decoder{in: in, code: code, mode: mode, key: uint32(mode) << keyMode}
	return d.decode()
}

func (d *decoder) decode() Status {
	if len(d.code) > maxLen {
		d.code = d.code[:maxLen]
	}
	*d.in = Inst{Seg: DS, Base: RegZero, Index: RegZero}
	if st := d.prefixes(); st != OK {
		return st
	}
	if st := d.opcode(); st != OK {
		return st
	}
	if st := d.find(); st != OK {
		return st
	}
	return d.operands()
}

// short is the status when code ends too early.
func (d *decoder) short() Status {
	if len(d.code) == maxLen {
		return TooLong
	}
	return Truncated
}

// prefixes consumes all prefixes. A REX prefix counts only right before the
// opcode [SDM 2 2.2.1].
func (d *decoder) prefixes() Status {
	for ; d.pos < len(d.code); d.pos++ {
		b := d.code[d.pos]
		k := prefixes[b]
		if k == pfxNone || k == pfxRex && d.mode != Mode64 {
			d.in.AddrSize = addrSizes[d.mode][d.has67]
			return OK
		}
		if k == pfxRex {
			d.rex = b
			continue
		}
		d.rex = 0
		d.prefix(k)
	}
	return d.short()
}

func (d *decoder) prefix(k uint8) {
	switch k {
	case pfx66:
		d.has66 = 1
	case pfx67:
		d.has67 = 1
	case pfxLock:
		d.lock = true
	case pfxF2:
		d.rep = 3
	case pfxF3:
		d.rep = 2
	default:
		seg := k - pfxSeg
		if d.mode == Mode64 && seg < FS {
			return // ignored [SDM 1 3.3.7.1]
		}
		d.in.Seg, d.segOv = seg, true
	}
}

// opcode consumes the opcode bytes and finds their tree.
func (d *decoder) opcode() Status {
	b := d.code[d.pos]
	d.pos++
	m := mapOne
	switch b {
	case 0x0f:
		if d.pos >= len(d.code) {
			return d.short()
		}
		m, b = map0F, d.code[d.pos]
		d.pos++
		if b == 0x38 || b == 0x3a {
			if d.pos >= len(d.code) {
				return d.short()
			}
			m = map0F38 + int(b>>1&1)
			b = d.code[d.pos]
			d.pos++
		}
	case 0xc4, 0xc5:
		if d.mode == Mode64 {
			return d.vexPrefix(b)
		}
		if d.pos >= len(d.code) {
			return d.short()
		}
		if d.code[d.pos] >= 0xc0 { // the register form of LES and LDS
			return d.vexPrefix(b)
		}
	}
	if d.amd && m == map0F && (b == 0xff || b == 0xb9) {
		return Invalid // UD0 and UD1 have no ModRM byte there
	}
	pfx := uint32(d.rep)
	if pfx == 0 {
		pfx = uint32(d.has66)
	}
	d.key |= pfx<<keyPfx | uint32(d.rex>>3&1)<<keyW | uint32(d.rex&1)<<keyB
	d.opc, d.node = b, roots[m][b]
	return OK
}

// vexPrefix consumes a VEX prefix and its opcode [SDM 2 2.3.5].
func (d *decoder) vexPrefix(first byte) Status {
	if d.has66 != 0 || d.rep != 0 || d.lock || d.rex != 0 {
		return Invalid
	}
	need := 2 + int(^first&1)
	if len(d.code)-d.pos < need {
		return d.short()
	}
	m, p := 1, d.code[d.pos]
	d.rex = ^p >> 5 & 4
	if first == 0xc4 {
		m = int(p & 31)
		d.rex = ^p >> 5
		p = d.code[d.pos+1]
		d.rex |= p >> 4 & 8
	}
	if m < 1 || m > 3 {
		return Invalid
	}
	d.vvvv = ^p >> 3 & 15
	d.in.Vvvv = d.vvvv
	d.vexFields(p)
	d.opc = d.code[d.pos+need-1]
	d.pos += need
	d.node = roots[mapVex0F+m-1][d.opc]
	return OK
}

// vexFields takes pp, L and W. Only eight registers exist outside 64-bit mode.
func (d *decoder) vexFields(p byte) {
	d.vex = true
	pp := uint32(p & 3)
	d.key |= pp<<keyPfx | uint32(d.rex>>3&1)<<keyW | uint32(p>>2&1)<<keyL
	if p&4 != 0 {
		d.in.Flags |= FlagVexL
	}
	if d.mode != Mode64 {
		d.rex &= 8
		d.in.Vvvv &= 7
	}
}

// find walks the decision tree to the row and checks what holds for all rows.
func (d *decoder) find() Status {
	n := d.node
	modrm := n>>31 != 0
	if modrm {
		if d.pos >= len(d.code) {
			return d.short()
		}
		d.key |= uint32(d.code[d.pos])
		d.pos++
	}
	for {
		mask := n >> 24 & 7
		if mask == 0 {
			break
		}
		n = nodes[n&0xffff+d.key>>(n>>16&31)&mask]
	}
	row := uint16(n)
	if row == 0 {
		return d.undefined(modrm)
	}
	if row == xchgRow && d.opc == 0x90 && d.rep == 2 && !d.amd {
		row = pauseRow
	}
	in, f := d.in, &forms[row]
	in.Row, in.Op = row, f.op
	in.Cond = d.opc & 15
	in.OpSize = opSizes[f.osz][d.mode][d.has66<<1|d.rex>>3&1]
	if d.amd && !d.vendor(f) {
		return Invalid
	}
	return d.check(f, modrm)
}

// undefined is an encoding of a group that has no row. Intel's processors find how
// long it is first, and then what it is, if there is no LOCK (measured).
func (d *decoder) undefined(modrm bool) Status {
	if !modrm || d.amd || d.lock || d.vex {
		return Invalid
	}
	d.in.OpSize = opSizes[oszV][d.mode][d.has66<<1|d.rex>>3&1]
	if st := d.modRM(&forms[0]); st != OK {
		return max(st, Invalid) // cut off: it is undefined whatever follows
	}
	imm := uint8(none)
	switch d.node {
	case roots[mapOne][0xc7]:
		imm = immZ
	case roots[mapOne][0xc6], roots[map0F][0x71], roots[map0F][0x72], roots[map0F][0x73], roots[map0F][0xba]:
		imm = imm8
	}
	if imm != none && d.pos+immSize(imm, int(d.in.OpSize), int(d.in.AddrSize)) > maxLen {
		return TooLong
	}
	return Invalid
}

// check sets the flags and applies the rules for LOCK and VEX.vvvv.
func (d *decoder) check(f *form, modrm bool) Status {
	in := d.in
	if d.rex&8 != 0 {
		in.Flags |= FlagVexW
	}
	if d.segOv {
		in.Flags |= FlagSegOv
	}
	if d.rex&0xf0 == 0x40 && !d.vex {
		in.Flags |= FlagRex
	}
	if d.rep != 0 && f.bits&formRep != 0 {
		in.Flags |= FlagRep << (d.rep & 1)
	}
	if d.lock {
		if f.bits&formLock == 0 || !modrm || d.key>>6&3 == 3 {
			return Invalid
		}
		in.Flags |= FlagLock
	}
	if d.vex && f.bits&formNoVvvv != 0 && d.vvvv != 0 {
		return Invalid
	}
	return OK
}

// operands decodes ModRM, memory operand and immediates.
func (d *decoder) operands() Status {
	in := d.in
	f := &forms[in.Row]
	if f.osz == oszA {
		in.OpSize = in.AddrSize
	}
	if d.node>>31 != 0 {
		if st := d.modRM(f); st != OK {
			return st
		}
	} else if f.bits&formOpReg != 0 {
		in.Reg = d.opc&7 | d.rex&1<<3
	}
	if f.imm != none {
		if st := d.immediate(f.imm); st != OK {
			return st
		}
	}
	in.Len = uint8(d.pos)
	return OK
}

func (d *decoder) modRM(f *form) Status {
	in := d.in
	m := byte(d.key)
	in.Reg = m >> 3 & 7
	if f.bits&formReg3 == 0 {
		in.Reg |= d.rex & 4 << 1
	}
	if m >= 0xc0 || f.bits&formModRR != 0 {
		in.RM = m & 7
		if f.bits&formRM3 == 0 {
			in.RM |= d.rex & 1 << 3
		}
		return OK
	}
	in.Flags |= FlagMem
	if in.AddrSize == 2 {
		return d.mem16(m, f)
	}
	return d.mem(m, f)
}

// mem decodes a memory operand of 32- and 64-bit addressing [SDM 2 2.1.5].
func (d *decoder) mem(m byte, f *form) Status {
	in := d.in
	mod, base := m>>6, m&7
	if base == 4 {
		if d.pos >= len(d.code) {
			return d.short()
		}
		sib := d.code[d.pos]
		d.pos++
		base = sib & 7
		in.Scale = sib >> 6
		in.Index = sib>>3&7 | d.rex&2<<2
		if in.Index == 4 && f.bits&formVSIB == 0 {
			in.Index, in.Scale = RegZero, 0
		}
		if mod == 0 && base == 5 {
			return d.disp(4)
		}
	} else if mod == 0 && base == 5 {
		if d.mode == Mode64 {
			in.Base = RegRIP
		}
		return d.disp(4)
	}
	in.Base = base | d.rex&1<<3
	if (in.Base == 4 || in.Base == 5) && !d.segOv {
		in.Seg = SS
	}
	return d.disp([3]int{0, 1, 4}[mod])
}

// The registers of 16-bit addressing by ModRM.rm [SDM 2 table 2-1].
var (
	base16  = [8]uint8{3, 3, 5, 5, 6, 7, 5, 3}
	index16 = [8]uint8{6, 7, 6, 7, RegZero, RegZero, RegZero, RegZero}
)

func (d *decoder) mem16(m byte, f *form) Status {
	in := d.in
	mod, rm := m>>6, m&7
	if f.bits&formVSIB != 0 {
		return Invalid
	}
	if mod == 0 && rm == 6 {
		return d.disp(2)
	}
	in.Base, in.Index = base16[rm], index16[rm]
	if in.Base == 5 && !d.segOv {
		in.Seg = SS
	}
	return d.disp(int(mod))
}

// disp reads a sign-extended displacement of n bytes.
func (d *decoder) disp(n int) Status {
	if len(d.code)-d.pos < n {
		return d.short()
	}
	p := d.code[d.pos:]
	switch n {
	case 1:
		d.in.Disp = int32(int8(p[0]))
	case 2:
		d.in.Disp = int32(int16(uint16(p[0]) | uint16(p[1])<<8))
	case 4:
		d.in.Disp = int32(le(p, 4))
	}
	d.pos += n
	return OK
}

// le reads n bytes, little-endian. Preconditions: len(p) >= n.
func le(p []byte, n int) (v uint64) {
	for i := n - 1; i >= 0; i-- {
		v = v<<8 | uint64(p[i])
	}
	return v
}

// immSize is the number of bytes of each immediate form, given operand and
// address size.
func immSize(form uint8, op, addr int) int {
	switch form {
	case imm8, imm8s:
		return 1
	case imm16:
		return 2
	case immZ:
		return min(op, 4)
	case immV:
		return op
	case immFar:
		return op + 2
	case immMoffs:
		return addr
	default:
		return 3
	}
}

func (d *decoder) immediate(form uint8) Status {
	in := d.in
	n := immSize(form, int(in.OpSize), int(in.AddrSize))
	if len(d.code)-d.pos < n {
		return d.short()
	}
	p := d.code[d.pos:]
	d.pos += n
	switch form {
	case imm8:
		in.Imm = uint64(p[0])
	case imm8s:
		in.Imm = uint64(int64(int8(p[0])))
	case immZ:
		in.Imm = signed(le(p, n), n)
	case immFar:
		in.Imm, in.Imm2 = le(p, n-2), uint16(le(p[n-2:], 2))
	case immEnter:
		in.Imm, in.Imm2 = le(p, 2), uint16(p[2])
	case immMoffs:
		in.Flags |= FlagMem
		in.Imm = le(p, n)
	default:
		in.Imm = le(p, n)
	}
	return OK
}

// signed sign-extends the low n bytes of v.
func signed(v uint64, n int) uint64 {
	s := 64 - 8*uint(n)
	return uint64(int64(v<<s) >> s)
}
