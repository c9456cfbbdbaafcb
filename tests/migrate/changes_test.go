package migrate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
)

// TestChanges: what is told of dirty pages while the guest runs is what the next
// pass finds.
func TestChanges(t *testing.T) {
	m := newTiny(t, 32, "hog 4 0 rand", 30_000_000)
	d := &machine.Departing{M: m, Do: func(f func() error) error { return f() }, Now: since()}
	require.NoError(t, d.Track())
	send(t, d)
	require.Equal(t, machine.Reached, m.Run(m.Count()+2_000_000))
	some, all := d.Changes(32), d.Changes(1<<20)
	p, err := d.Pass()
	require.NoError(t, err)
	require.Len(t, all, int(p.Info().Dirty))
	require.GreaterOrEqual(t, len(some), 32)
	require.Less(t, len(some), 64)

	part, kinds := 0, map[migrate.Change]int{}
	for _, c := range all {
		kinds[c]++
	}
	for i, w := range p.Dirty() {
		for n := range uint32(64) {
			if w>>n&1 == 0 {
				continue
			}
			page, was, now := uint32(i)*64+n, [4096]byte{}, [4096]byte{}
			require.True(t, p.Base(page, &was), "the pool has room for all")
			p.Read(page, &now)
			c := migrate.Change{Leaf: snapshot.LeafOf(&now)}
			for l := range 64 {
				if [64]byte(was[l*64:]) != [64]byte(now[l*64:]) {
					c.Lines |= 1 << l
				}
			}
			require.NotZero(t, kinds[c], "page %d", page)
			kinds[c]--
			if c.Lines+1 > 1 {
				part++
			}
		}
	}
	require.NotZero(t, part, "pages of which something is as it was")
	for _, c := range some {
		require.Contains(t, all, c)
	}
	d.Resume()
	require.NoError(t, m.Close())
}
