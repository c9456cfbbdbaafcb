package cpu

// The TLBs of a vCPU, by who accesses. Their entries are valid only while a
// fresh walk would give the same answer, so nothing about them can be observed.
const (
	mmuUser     = iota // CPL 3
	mmuKernel          // CPL 0-2 with SMAP in force
	mmuKernelAC        // CPL 0-2, user pages allowed
	numMMU
)

// tlbSize is how many pages a TLB knows at most.
const tlbSize = 4096

// tlbEntry maps one virtual page. A tag is the page's linear address, or an
// address that cannot fall into this slot. An access of n bytes hits when
// la-tag <= 4096-n, which also rules out crossing the page; its byte is then at
// arena offset add+(la-tag).
type tlbEntry struct{ r, w, x, add uint64 }

type tlb struct {
	e    [tlbSize]tlbEntry
	used []uint16 // slots with a valid tag
	most int      // of them, before all are forgotten: for tests
}

// hashLA spreads pages over slots. Why the second term: buffers a multiple of
// 16 MiB apart would share their slots, and copying from one to the other would
// walk for every line. Its distance decides from which size on they meet: with 17,
// that is 512 KiB at a distance of 16 MiB, 1 MiB at one of 32 MiB, and so on.
func hashLA(la uint64) uint64 { return (la>>12 ^ la>>17) & (tlbSize - 1) }

// noTag is a tag that no address of the slot matches: that of a page of another
// slot. It is zero but for the slot of page 0, so that an empty TLB is zero too and
// takes no memory of the host yet.
func noTag(slot uint64) uint64 {
	if slot == 0 {
		return 1 << 12
	}
	return 0
}

func (t *tlb) slot(la uint64) *tlbEntry { return &t.e[hashLA(la)] }

func (t *tlb) init() {
	t.most = tlbSize
	n := noTag(0)
	t.e[0] = tlbEntry{n, n, n, 0}
}

func (t *tlb) flush() {
	for _, i := range t.used {
		n := noTag(uint64(i))
		t.e[i] = tlbEntry{n, n, n, 0}
	}
	t.used = t.used[:0]
}

// claim gives the entry for la's page, emptied of another page's tags.
func (t *tlb) claim(la uint64) *tlbEntry {
	page := la &^ 0xfff
	i := hashLA(la)
	e, n := &t.e[i], noTag(i)
	if e.r == page || e.w == page || e.x == page || e.w == page^held && e.w != n {
		return e
	}
	if e.r == n && e.w == n && e.x == n {
		if len(t.used) >= t.most {
			t.flush()
		}
		t.used = append(t.used, uint16(i))
	}
	e.r, e.w, e.x = n, n, n
	return e
}

// dropWrites forgets write permission for the arena page at offset off.
func (t *tlb) dropWrites(off uint64) {
	for _, i := range t.used {
		if e := &t.e[i]; e.add == off {
			e.w = noTag(uint64(i))
		}
	}
}

// held turns the write tag of a page into one that no access matches. It says that
// the translation is still good and only somebody wants to know of the next write: a
// walk less for each page that was written in the pass before. As it is not canonical,
// it is no slot's noTag, but of pages that are not canonical themselves: those need
// another look.
const held = 1<<63 | 1<<12

// holdWrites turns all write tags into held ones.
func (t *tlb) holdWrites() {
	for _, i := range t.used {
		if e := &t.e[i]; hashLA(e.w) == uint64(i) {
			e.w ^= held
		}
	}
}

// Mapped calls do with the arena offset of each page that the TLBs map: what the
// vCPU has used lately. That is a hint and depends on the host; no guest may come to
// know of it.
func (c *CPU) Mapped(do func(off uint64)) {
	for i := range c.tlb {
		for _, slot := range c.tlb[i].used {
			do(c.tlb[i].e[slot].add)
		}
	}
}

// SetTLBSize lets each TLB know n pages, 4096 at most, and forget them all for one
// more. It cannot change what the guest does; tests run with several sizes.
func (c *CPU) SetTLBSize(n int) {
	for i := range c.tlb {
		c.tlb[i].flush()
		c.tlb[i].most = n
	}
	c.newGen()
}

// FlushTLB empties every cache of translations. It cannot change what the guest
// does.
func (c *CPU) FlushTLB() {
	for i := range c.tlb {
		c.tlb[i].flush()
	}
	c.newGen()
	c.stats.TLBFlushes++
}

// holdWrites lets no write take the fast path, after pages were re-armed.
func (c *CPU) holdWrites() {
	for i := range c.tlb {
		c.tlb[i].holdWrites()
	}
}
