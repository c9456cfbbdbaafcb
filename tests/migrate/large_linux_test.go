package migrate

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/mem"
	"godwit/migrate"
)

// TestLargeMemory moves a guest with memory on both sides of the hole below 4 GiB, in
// a number of pages that is no multiple of 64, with content at its edges: before the
// hole, behind it, in the last page. They are clean, or written to after they were sent.
func TestLargeMemory(t *testing.T) {
	const size = 4<<30 + 1<<20 + 3<<12
	edges := []uint64{mem.LowTop - 4096, mem.HighBase, mem.HighBase + size - mem.LowTop - 4096}
	page := func(pa uint64) uint64 { // in the arena
		if pa >= mem.HighBase {
			pa -= mem.HighBase - mem.LowTop
		}
		return pa >> 12
	}
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModePost, migrate.ModeHybrid} {
		for _, dirty := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/dirty %v", mode, dirty), func(t *testing.T) {
				cfg := machine.DefaultConfig()
				cfg.Memory, cfg.Append = size, "run=hog 1 0 rand"
				m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
				require.NoError(t, err)
				require.NoError(t, m.Boot())
				require.Equal(t, machine.Reached, m.Run(3_000_000))
				write := func(v byte) error {
					for i, pa := range edges {
						require.True(t, m.Memory().Write(pa+4095, []byte{v + byte(i)}))
					}
					return nil
				}
				require.NoError(t, write(1))
				j := newJourney(t, m, migrate.Options{Mode: mode, Observe: -1})
				want := byte(1)
				if dirty {
					want = 11
					j.guest = &disturbed{j.dep, func() { require.NoError(t, j.from.do(func() error { return write(11) })) }}
				}
				sent, got, err := j.travel()
				require.NoError(t, err)
				require.Equal(t, sent.Root, got.Root)
				require.EqualValues(t, size>>12, sent.Pages)
				require.NoError(t, j.to.do(func() error {
					mem := j.to.m.Memory()
					for i, pa := range edges {
						require.Equal(t, want+byte(i), mem.Bytes()[page(pa)<<12+4095], "at %#x", pa)
					}
					require.False(t, mem.Present(uint32(page(edges[2]))-1))
					return nil
				}))
				j.same(sent)
			})
		}
	}
}

// disturbed is a guest to which something happens before the stop, after the passes.
type disturbed struct {
	*machine.Departing
	do func()
}

func (d *disturbed) Stop() (migrate.Final, error) {
	d.do()
	return d.Departing.Stop()
}
