package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRearmedPages writes pages, makes them clean, and writes them again: that is
// noticed once for each, and no page is walked for again, nor is one whose
// translation went away in between written without.
func TestRearmedPages(t *testing.T) {
	r := newRig(t)
	r.smallPages()
	const first, n = 0x40, 0x20
	r.put(rigCode, "c60701 4881c700100000 e2f4") // movb [rdi], 1; add rdi, 4096; loop
	r.shared.Reset()
	round := func() (walks uint64) {
		r.RIP, r.R[RDI], r.R[RCX] = rigCode, first<<12, n
		before := r.stats.Walks
		r.Run(r.Count + 3*n)
		return r.stats.Walks - before
	}
	c := r.m.Consumer("test")
	defer c.Release()
	round()
	for range 3 {
		c.Harvest(nil)
		require.Zero(t, round())
		require.Equal(t, n, c.Count())
	}
	c.Harvest(nil)
	r.put64(rigPML4+0x3000+first*8, 0x30000|5) // only to be read
	r.FlushTLB()
	r.RIP, r.R[RDI] = rigCode, first<<12
	r.Step()
	assert.Equal(t, isr(vecPF), r.RIP)
	assert.Zero(t, r.ram[0x30000])
}

// TestNotCanonicalIsNotHeld: pages that held would have the tag of an empty slot.
func TestNotCanonicalIsNotHeld(t *testing.T) {
	for _, la := range []uint64{1 << 63, 1<<63 | 1<<12} {
		require.Equal(t, noTag(hashLA(la)), la^held)
		r := newRig(t)
		r.long(3)
		r.inBlock = true
		_, ok := r.translate(la, accWrite, r.mmu)
		r.inBlock = false
		assert.False(t, ok)
		assert.True(t, r.stepReq, "the reference raises #GP")
		r.tlb[r.mmu].claim(la)
		assert.Contains(t, r.tlb[r.mmu].used, uint16(hashLA(la)), "so that a flush finds it")
	}
}

// TestEmptyTLB: no address hits a slot without a tag, whether it was never used or was
// flushed.
func TestEmptyTLB(t *testing.T) {
	r := newRig(t)
	for slot := range uint64(tlbSize) {
		e, n := &r.tlb[mmuUser].e[slot], noTag(slot)
		require.Equal(t, tlbEntry{n, n, n, 0}, *e)
		require.NotEqual(t, slot, hashLA(n))
	}
}

// TestHeldTags: a held tag is no slot's noTag, no page's tag, and is hit by no access.
func TestHeldTags(t *testing.T) {
	for _, page := range []uint64{0, 0x1000, 0x1ffff000, 0x7ffffffff000, 0xffff800000000000, 0xffffffff81000000, ^uint64(0xfff)} {
		slot, tag := hashLA(page), page^held
		assert.NotEqual(t, slot, hashLA(tag), "%#x", page)
		assert.NotEqual(t, noTag(slot), tag, "%#x", page)
		for _, d := range []uint64{0, 1, 4095} {
			assert.Greater(t, page+d-tag, uint64(4095), "%#x", page)
		}
	}
}
