package native

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// TestDevicesLikeMemory runs every instruction with a device in memory's place that
// keeps what is written to it: registers, flags, faults and content are the same, on
// both engines.
func TestDevicesLikeMemory(t *testing.T) {
	for vendor := range models {
		t.Run(vendor, func(t *testing.T) {
			a, b := needModel(t, vendor, ""), needModel(t, vendor, "")
			b.mapData(deviceData)
			testDevices(t, a, b)
		})
	}
}

func testDevices(t *testing.T, a, b *Machine) {
	var rows []uint16
	for i := 1; i < len(isa.Rows); i++ {
		if r := &isa.Rows[i]; a.has(r) && r.Attrs&isa.AttrAVX == 0 && (excluded[r.Op] == "" || imageOps[r.Op]) {
			rows = append(rows, uint16(i))
		}
	}
	g := NewGen(seed(t), rows)
	ops := map[isa.Op]bool{}
	for n := count(t, 20000); n > 0; n-- {
		c, in := g.Next([]isa.Mode{isa.Mode64, isa.Mode64, isa.Mode32, isa.Mode16}[n%4])
		if isa.Rows[in.Row].Attrs&vecAttrs != 0 {
			c.Vec = g.x87()
		}
		if !Usable(c, in) {
			continue
		}
		want, _, err := a.Reference(c)
		require.NoError(t, err)
		got, steps, err := b.Reference(c)
		require.NoError(t, err)
		require.Empty(t, Compare(c, want, got), "% x %s\n%s", c.Code, in.Text(c.RIP), c)
		got, err = b.Blocks(c, steps)
		require.NoError(t, err, "% x %s", c.Code, c)
		require.Empty(t, Compare(c, want, got), "% x %s\n%s", c.Code, in.Text(c.RIP), c)
		if len(want.Diff) > 0 {
			ops[in.Op] = true
		}
	}
	assert.Greater(t, len(ops), 70, "operations that wrote")
}
