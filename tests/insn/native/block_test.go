package native

import (
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// sequence makes a case of several instructions, so that the block engine has
// flags to keep, to drop and to fuse.
func sequence(g *Gen, m isa.Mode) *Case {
	c, in := g.Next(m)
	for n := 1 + g.n(5); n > 0; {
		d, next := g.Next(m)
		if next.Row == 0 || in.Row == 0 || len(c.Code)+len(d.Code) > MaxCode {
			n--
			continue
		}
		c.Code = append(c.Code[:len(c.Code):len(c.Code)], d.Code...)
		for i := range d.R { // as many operands as possible are where they should be
			if g.one(2) {
				c.R[i] = d.R[i]
			}
		}
		n--
	}
	c.RIP = CodeRIP
	if m == isa.Mode16 {
		c.RIP -= CodeBase
	}
	return c
}

// TestBlocksAgainstReference runs sequences on both engines of every vendor's
// model and compares them at the end and where a count in the middle stops them.
func TestBlocksAgainstReference(t *testing.T) {
	for vendor := range models {
		t.Run(vendor, func(t *testing.T) { testBlocks(t, needModel(t, vendor, ""), needModel(t, vendor, "")) })
	}
}

func testBlocks(t *testing.T, a, b *Machine) {
	g := NewGen(seed(t), intRows(a))
	for n := count(t, 15000); n > 0; n-- {
		md := []isa.Mode{isa.Mode64, isa.Mode64, isa.Mode32, isa.Mode16}[n%4]
		c := sequence(g, md)
		want, steps, err := a.Reference(c)
		require.NoError(t, err)
		if want.Trap == -2 || steps > 3000 {
			continue
		}
		got, err := b.Blocks(c, steps)
		require.NoError(t, err, "% x %s", c.Code, c)
		require.Empty(t, Compare(c, want, got), "% x\n%s", c.Code, c)
		stop := 1 + uint64(g.n(int(steps)))
		want, err = a.Until(c, stop)
		require.NoError(t, err)
		got, err = b.BlocksUntil(c, stop)
		require.NoError(t, err)
		require.Equal(t, want, got, "% x stopped after %d\n%s", c.Code, stop, c)
	}
}

// TestEnginesAgree: so do single vector and x87 instructions.
func TestEnginesAgree(t *testing.T) {
	for vendor := range models {
		t.Run(vendor, func(t *testing.T) { testEngines(t, needModel(t, vendor, "")) })
	}
}

func testEngines(t *testing.T, m *Machine) {
	var rows []uint16
	for i := 1; i < len(isa.Rows); i++ {
		r := &isa.Rows[i]
		if m.has(r) && r.Attrs&isa.AttrAVX == 0 && (r.Attrs&vecAttrs != 0 && excluded[r.Op] == "" || imageOps[r.Op]) {
			rows = append(rows, uint16(i))
		}
	}
	g := NewGen(seed(t), rows)
	for n := count(t, 10000); n > 0; n-- {
		c, in := g.Next([]isa.Mode{isa.Mode64, isa.Mode64, isa.Mode32, isa.Mode16}[n%4])
		c.Vec = g.x87()
		if !Usable(c, in) {
			continue
		}
		want, steps, err := m.Reference(c)
		require.NoError(t, err)
		got, err := m.Blocks(c, steps)
		require.NoError(t, err, "% x %s", c.Code, c)
		require.Empty(t, Compare(c, want, got), "% x %s\n%s", c.Code, in.Text(c.RIP), c)
	}
}
