package native

import (
	"strconv"
	"strings"

	"godwit/cpu/isa"
)

// template is an encoding of the table, taken apart [x86.tab].
type template struct {
	row    uint16
	pfx    byte // mandatory prefix: 0, 0x66, 0xf3, 0xf2
	noRep  bool // neither F2 nor F3
	no66   bool
	w      int8 // REX.W or VEX.W: -1 is free
	l      int8 // VEX.L: -1 is free
	vex    uint8
	opcode []byte // with 0F, 0F 38, 0F 3A unless vex
	vary   byte   // low bits of the last opcode byte that are free
	modrm  bool
	reg    [2]byte // range of the reg field
	regs   bool    // register form only
	fixed  int16   // whole ModRM byte, or -1
	imm    string
}

// templates are those of all rows.
var templates = func() []template {
	t := make([]template, len(isa.Rows))
	for i := 1; i < len(isa.Rows); i++ {
		t[i] = parse(uint16(i))
	}
	return t
}()

func parse(row uint16) template {
	t := template{row: row, w: -1, l: -1, reg: [2]byte{0, 7}, fixed: -1}
	for _, w := range strings.Fields(isa.Rows[row].Enc) {
		t.word(w)
	}
	return t
}

func (t *template) word(w string) {
	switch {
	case strings.HasPrefix(w, "VEX."):
		for _, p := range strings.Split(w, ".")[1:] {
			t.vexPart(p)
		}
	case w == "NP":
		t.noRep, t.no66 = true, true
	case w == "NFx":
		t.noRep = true
	case len(t.opcode) == 0 && t.vex == 0 && t.pfx == 0 && (w == "66" || w == "F3" || w == "F2"):
		v, _ := strconv.ParseUint(w, 16, 8)
		t.pfx = byte(v)
	case w == "W0" || w == "W1":
		t.w = int8(w[1] - '0')
	case w == "REX.B0":
	case strings.HasPrefix(w, "/"):
		t.modrm = true
		w, t.regs = strings.CutSuffix(w, ":11")
		if w[1] != 'r' {
			t.reg = [2]byte{w[1] - '0', w[len(w)-1] - '0'}
		}
	default:
		t.byteOrImm(w)
	}
}

func (t *template) byteOrImm(w string) {
	h, vary := w, byte(0)
	for suffix, bits := range map[string]byte{"+r": 7, "+i": 7, "+cc": 15} {
		if s, ok := strings.CutSuffix(w, suffix); ok {
			h, vary = s, bits
		}
	}
	v, err := strconv.ParseUint(h, 16, 8)
	if err != nil || len(h) != 2 || h != strings.ToUpper(h) {
		t.imm = w
		return
	}
	n := len(t.opcode)
	if n > 0 && t.opcode[n-1] != 0x0f && !(n == 2 && t.opcode[0] == 0x0f && (t.opcode[1] == 0x38 || t.opcode[1] == 0x3a)) {
		t.fixed = int16(v)
		t.vary = vary
		return
	}
	t.opcode, t.vary = append(t.opcode, byte(v)), vary
}

func (t *template) vexPart(p string) {
	switch p {
	case "128", "LZ":
		t.l = 0
	case "256":
		t.l = 1
	case "66", "F3", "F2":
		v, _ := strconv.ParseUint(p, 16, 8)
		t.pfx = byte(v)
	case "0F":
		t.vex = 1
	case "0F38":
		t.vex = 2
	case "0F3A":
		t.vex = 3
	case "W0", "W1":
		t.w = int8(p[1] - '0')
	}
}

// encoding is one instruction as bytes; disp is where its displacement stands.
type encoding struct {
	b      []byte
	disp   int
	dispSz int
}

// encode makes random bytes of a template. They are usually, not always, an
// instruction of this row in the mode.
func (g *Gen) encode(t *template, mode isa.Mode) encoding {
	var e encoding
	rex := byte(0)
	if mode == isa.Mode64 && g.one(2) {
		rex = 0x40 | byte(g.n(16))
	}
	if t.w >= 0 && (mode == isa.Mode64 || t.vex != 0) {
		rex = rex&^8 | byte(t.w)<<3
		if t.w == 1 {
			rex |= 0x40
		}
	}
	e.b = g.prefixes(t)
	addr16 := mode == isa.Mode16
	for _, p := range e.b {
		if p == 0x67 {
			addr16 = mode == isa.Mode32
			break
		}
	}
	switch {
	case t.vex != 0:
		e.b = g.vex(e.b, t, rex)
	case rex&0x40 != 0:
		e.b = append(e.b, rex)
	}
	e.b = append(e.b, t.opcode...)
	if t.vary != 0 && t.fixed < 0 {
		e.b[len(e.b)-1] |= byte(g.n(int(t.vary) + 1))
	}
	switch {
	case t.fixed >= 0:
		e.b = append(e.b, byte(t.fixed)|byte(g.n(int(t.vary)+1)))
	case t.modrm:
		g.modrm(&e, t, mode, addr16)
	}
	e.b = g.immediate(e.b, t.imm, mode)
	return e
}

// prefixes chooses legacy prefixes in random order.
func (g *Gen) prefixes(t *template) (p []byte) {
	row := &isa.Rows[t.row]
	if t.vex == 0 && t.pfx != 0 {
		p = append(p, t.pfx)
	}
	if t.vex == 0 && t.pfx != 0x66 && !t.no66 && g.one(4) {
		p = append(p, 0x66)
	}
	if g.one(8) {
		p = append(p, 0x67)
	}
	if g.one(7) {
		p = append(p, []byte{0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65}[g.n(6)])
	}
	str := row.Attrs&isa.AttrString != 0
	if t.vex == 0 && !t.noRep && t.pfx != 0xf2 && t.pfx != 0xf3 && (str && !g.one(3) || g.one(16)) {
		p = append(p, []byte{0xf2, 0xf3}[g.n(2)])
	}
	if row.Attrs&isa.AttrLock != 0 && g.one(5) || g.one(60) {
		p = append(p, 0xf0)
	}
	for i := range p {
		j := g.n(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// vex appends a VEX prefix; rex holds W, R, X, B.
func (g *Gen) vex(b []byte, t *template, rex byte) []byte {
	pp := map[byte]byte{0: 0, 0x66: 1, 0xf3: 2, 0xf2: 3}[t.pfx]
	last := byte(g.n(16))<<3 | pp
	if t.l > 0 || t.l < 0 && g.one(2) {
		last |= 4
	}
	if t.vex == 1 && rex&0xb == 0 && g.one(2) {
		return append(b, 0xc5, ^rex<<5&0x80|last)
	}
	return append(b, 0xc4, ^rex<<5&0xe0|t.vex, rex<<4&0x80|last)
}

// modrm appends ModRM, SIB and displacement.
func (g *Gen) modrm(e *encoding, t *template, mode isa.Mode, addr16 bool) {
	reg := t.reg[0] + byte(g.n(int(t.reg[1]-t.reg[0])+1))
	mod, rm := byte(g.n(4)), byte(g.n(8))
	if g.one(3) {
		mod = 3
	}
	if g.onlyMemory(t.row) && !g.one(40) {
		mod = byte(g.n(3))
	}
	if t.regs {
		mod = 3
	}
	e.b = append(e.b, mod<<6|reg<<3|rm)
	if mod == 3 {
		return
	}
	n := [3]int{0, 1, 4}[mod]
	if addr16 {
		n = [3]int{0, 1, 2}[mod]
		if mod == 0 && rm == 6 {
			n = 2
		}
	} else if rm == 4 {
		sib := byte(g.n(256))
		e.b = append(e.b, sib)
		if mod == 0 && sib&7 == 5 {
			n = 4
		}
	} else if mod == 0 && rm == 5 {
		n = 4
	}
	e.disp, e.dispSz = len(e.b), n
	v := g.value()
	for i := 0; i < n; i++ {
		e.b = append(e.b, byte(v>>(8*i)))
	}
}

// onlyMemory tells that a row's ModRM operand must be memory.
func (g *Gen) onlyMemory(row uint16) bool {
	for _, a := range isa.Rows[row].Args {
		if a == isa.ArgMem {
			return true
		}
	}
	return false
}

// immediate appends more bytes than any immediate needs; the decoder tells how
// many there are.
func (g *Gen) immediate(b []byte, form string, mode isa.Mode) []byte {
	if form == "" {
		return b
	}
	v := g.value()
	if form[0] == 'c' { // a branch: mostly near
		v = uint64(int64(g.n(256) - 128))
	}
	for i := 0; i < 8; i++ {
		b = append(b, byte(v>>(8*i)))
	}
	s := g.selector()
	if form == "cp" {
		// Offset and selector: their place depends on the operand size.
		return append(b[:len(b)-8], g.far(b, mode)...)
	}
	return append(b, byte(s), byte(s>>8))
}

// far makes a far pointer for the operand size that the prefixes select.
func (g *Gen) far(b []byte, mode isa.Mode) []byte {
	size := 4
	if mode == isa.Mode16 {
		size = 2
	}
	for _, p := range b[:len(b)-9] {
		if p == 0x66 {
			size = 6 - size
			break
		}
	}
	sel, off := g.target()
	var r []byte
	for i := 0; i < size; i++ {
		r = append(r, byte(off>>(8*i)))
	}
	return append(r, byte(sel), byte(sel>>8))
}
