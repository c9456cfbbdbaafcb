package mem

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const benchRAM = 1 << 30

func newBench(b *testing.B) *Memory {
	m, err := New(benchRAM)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, m.Close()) })
	return m
}

// BenchmarkTouch writes first to clean pages, as a guest does.
func BenchmarkTouch(b *testing.B) {
	for _, tt := range []struct {
		name   string
		epochs int
		done   bool
	}{{"no epoch", 0, false}, {"saves", 1, false}, {"saves two", 2, false}, {"done", 1, true}} {
		b.Run(tt.name, func(b *testing.B) {
			const pages = 4096 // 16 MiB: the copy is not all cache misses
			m := newBench(b)
			c := m.Consumer("bench")
			var epochs []*Epoch
			dirty := make([]uint64, m.Pages()/64)
			for p := range uint32(pages) {
				m.Touch(p)
				m.page(p)[0] = 1
			}
			for i := 0; i < b.N; i++ {
				p := uint32(i % pages)
				if p == 0 {
					b.StopTimer()
					for _, e := range epochs {
						e.Close()
					}
					epochs = epochs[:0]
					dirty = c.Harvest(dirty)
					for range tt.epochs {
						e := m.Epoch(pages)
						epochs = append(epochs, e)
						for p := range uint32(pages) {
							if tt.done {
								e.Done(p)
							}
						}
					}
					b.StartTimer()
				}
				m.Touch(p)
			}
			for _, e := range epochs {
				e.Close()
			}
		})
	}
}

func BenchmarkHarvest(b *testing.B) {
	for _, tt := range []struct {
		name  string
		every uint32 // one page in so many is dirty; 0: none
	}{{"clean", 0}, {"dirty", 1}, {"one in 64", 64}, {"one in 1000", 1000}} {
		b.Run(tt.name, func(b *testing.B) {
			m := newBench(b)
			c := m.Consumer("bench")
			dst := c.Harvest(nil)
			for b.Loop() {
				if tt.every != 0 {
					b.StopTimer()
					for p := uint32(0); p < m.Pages(); p += tt.every {
						m.Touch(p)
					}
					b.StartTimer()
				}
				dst = c.Harvest(dst)
			}
		})
	}
}

func BenchmarkLeaves(b *testing.B) {
	for _, tt := range []struct {
		name  string
		pages uint32
	}{{"clean", 0}, {"16 MiB dirty", 4096}} {
		b.Run(tt.name, func(b *testing.B) {
			m := newBench(b)
			for b.Loop() {
				for p := range tt.pages {
					m.Touch(p)
				}
				m.Leaves()
			}
			b.SetBytes(int64(tt.pages) * PageSize)
		})
	}
}

func BenchmarkEpochOpen(b *testing.B) {
	m := newBench(b)
	for b.Loop() {
		m.Epoch(1024).Close()
	}
}

func BenchmarkLoad64(b *testing.B) {
	buf := make([]byte, 1<<15)
	var off uint64
	for b.Loop() {
		off = Load64(buf, off) // a chain: each address comes from the load before
	}
}
