package native

import (
	"bytes"
	"testing"

	"godwit/cpu/isa"
)

// TestRandom executes random bytes after random prefixes: most of the ways in
// which bytes are no instruction are found only so.
func TestRandom(t *testing.T) {
	for md, name := range map[isa.Mode]string{isa.Mode64: "64", isa.Mode32: "32", isa.Mode16: "16"} {
		g := NewGen(seed(t), nil)
		t.Run(name, func(t *testing.T) {
			x, m := needNative(t, md)
			g.flat = m.flat
			compareCases(t, x, m, 3000, func() (*Case, *isa.Inst) {
				for {
					c := g.state(md)
					c.Code = g.bytes()
					c.Vec = g.vec()
					var in isa.Inst
					if m.decode(c.Code, md, &in) == isa.OK {
						c.Code = c.Code[:in.Len]
					} else {
						in = isa.Inst{}
						c.Code = c.Code[:15]
					}
					if in.Row == 0 && newer(c.Code) || in.Row != 0 && imageOps[in.Op] && c.R[0]&0xfffffff8 != 0 || c.RIP&0xfff > 0x1000-16 || !Usable(c, &in) || in.Row != 0 && (in.R().Attrs&isa.AttrAVX != 0 || !hostHas(in.R()) || !m.has(in.R())) {
						continue
					}
					return c, &in
				}
			})
		})
	}
}

// newer tells of instructions that processors have and our models do not: SSE4a,
// GFNI, ENQCMD, RDPRU, what suspends the tracking of transactions, trust domains' calls; and
// hypercalls with prefixes, which reach the hypervisor.
// EVEX behind as many prefixes as bytes has may be longer than 15 bytes, and then #GP;
// so may be others behind more.
func newer(b []byte) bool {
	if more := b[maxPrefixes]; more == 0x62 || more&0xf0 == 0x40 || bytes.IndexByte(legacy, more) >= 0 {
		return true
	}
	i := bytes.IndexByte(b, 0x0f)
	for _, op := range [...]string{"\x78", "\x79", "\x2b", "\x38\xcf", "\x38\xf8", "\x3a\xce", "\x3a\xcf", "\x01\xe8", "\x01\xe9", "\x01\xfd", "\x01\xc1", "\x01\xd9", "\x01\xcc", "\x01\xcd", "\x01\xce", "\x01\xcf"} {
		if i >= 0 && bytes.HasPrefix(b[i+1:], []byte(op)) {
			return true
		}
	}
	return false
}

const maxPrefixes = 5

// legacy are the prefixes of every mode.
var legacy = []byte{0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65}

// bytes are prefixes, an opcode of some map, and more.
func (g *Gen) bytes() []byte {
	b := make([]byte, 0, 24)
	prefixes := append(legacy[:len(legacy):len(legacy)], 0x40, 0x48, 0x41, 0x44, 0x4f)
	for len(b) < maxPrefixes && g.one(2) { // too long and undefined is either #GP or #UD
		b = append(b, prefixes[g.n(len(prefixes))])
	}
	switch g.n(6) {
	case 0, 1, 2:
		b = append(b, 0x0f)
	case 3:
		b = append(b, 0x0f, 0x38)
	case 4:
		b = append(b, 0x0f, 0x3a)
	}
	for len(b) < 20 {
		b = append(b, byte(g.r.Uint32()))
	}
	return b
}
