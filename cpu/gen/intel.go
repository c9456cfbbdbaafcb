package main

import "fmt"

// Ops of models whose vendor is Intel, in place of others or after them: what the
// manuals leave undefined differs there; see undefined.go.

// intelRotates: rotates by constants but 1 leave OF.
func intelRotates(w int, a string) {
	for _, o := range []struct {
		name, n string
		cf      int // which bit is CF
	}{{"Rol", "int(b)", 0}, {"Ror", "-int(b)", w - 1}} {
		rot := a + fmt.Sprintf("v = uint64(bits.RotateLeft%d(uint%d(a), %s))\n", w, w, o.n) + set(w, "dst", "v")
		emit(fmt.Sprintf("opIntel%s%dri", o.name, w), rot+fmt.Sprintf("c.setFlags(flagCF, v>>%d)\n", o.cf), reads, pair)
		emit(fmt.Sprintf("opIntel%s%driN", o.name, w), rot)
	}
}

// intelProduct completes the flags of a multiplication.
func intelProduct(w int) {
	name := fmt.Sprintf("opProduct%d", w)
	emit(name, fmt.Sprintf("c.intelProduct(%d, "+get(w, "dst")+")\n", w/32+1), reads, pair)
	emit(name+"N", "")
}
