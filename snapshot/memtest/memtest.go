// Package memtest is a memory for tests of snapshots and migration: sparse, as a
// guest's is, and both source and destination.
package memtest

import (
	"fmt"
	"math/rand/v2"

	"godwit/snapshot"
)

// Memory implements snapshot.Pages and snapshot.Sink.
type Memory struct {
	N    uint32
	Data map[uint32]*[snapshot.PageSize]byte // pages that were written
}

// New returns a memory of n pages, all zero.
func New(n uint32) *Memory {
	return &Memory{N: n, Data: map[uint32]*[snapshot.PageSize]byte{}}
}

// Pages is the number of pages.
func (m *Memory) Pages() uint32 { return m.N }

// Present tells whether p was ever written.
func (m *Memory) Present(p uint32) bool { return m.Data[p] != nil }

// Read copies page p to b.
func (m *Memory) Read(p uint32, b *[snapshot.PageSize]byte) {
	*b = [snapshot.PageSize]byte{}
	if d := m.Data[p]; d != nil {
		*b = *d
	}
}

// Leaf is the leaf of page p.
func (m *Memory) Leaf(p uint32) [snapshot.LeafSize]byte {
	if d := m.Data[p]; d != nil {
		return snapshot.LeafOf(d)
	}
	return snapshot.ZeroLeaf()
}

// Restore sets page p.
func (m *Memory) Restore(p uint32, b []byte) error {
	if p >= m.N {
		return fmt.Errorf("page %d of %d", p, m.N)
	}
	if len(b) != snapshot.PageSize {
		return fmt.Errorf("page %d: %d bytes", p, len(b))
	}
	d := [snapshot.PageSize]byte(b)
	m.Data[p] = &d
	return nil
}

// Root is the state hash of the memory and the sections.
func (m *Memory) Root(secs []snapshot.Section) [snapshot.DigestSize]byte {
	r, err := snapshot.Root(m.N, m.Leaf, secs)
	if err != nil {
		panic(err)
	}
	return r
}

// Fill writes pages until about one in every is present: a third text-like, a
// third random, a third written with zeros. The same seed gives the same pages.
func (m *Memory) Fill(seed uint64, every int) *Memory {
	r := rand.New(rand.NewPCG(seed, 1))
	for p := range m.N {
		if r.IntN(every) != 0 {
			continue
		}
		d := new([snapshot.PageSize]byte)
		switch r.IntN(3) {
		case 0:
			for i := range d {
				d[i] = "the quick brown fox "[i%20] + byte(p)&3
			}
		case 1:
			for i := range d {
				d[i] = byte(r.Uint32())
			}
		}
		m.Data[p] = d
	}
	return m
}

// Sections is a plausible machine: three state sections and a configuration.
func Sections() []snapshot.Section {
	return []snapshot.Section{
		{Name: "uart", Instance: "uart0", Version: 1, State: true, Data: []byte("\xa2\x01\x05\x02\x60")},
		{Name: "vcpu", Instance: "cpu0", Version: 3, State: true, Data: make([]byte, 5000)},
		{Name: "clock", Version: 1, State: true, Data: []byte("\xa1\x01\x1a\x00\x01\x86\xa0")},
		{Name: "config", Version: 1, Required: true, Data: []byte("\xa1\x01\x18\x40")},
	}
}
