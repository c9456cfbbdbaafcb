package mem

import (
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"
)

var (
	zeroPage [PageSize]byte
	zeroLeaf = leafOf(&zeroPage)
)

// leafOf hashes a page as docs/format/hash.md says: xxh3-128, seed 0, high half
// first, big endian.
func leafOf(b *[PageSize]byte) [16]byte { return xxh3.Hash128(b[:]).Bytes() }

// Present tells whether the page was ever written or promised; if not, it is all
// zero and costs the host nothing.
func (m *Memory) Present(page uint32) bool {
	return m.written[page>>6]&(1<<(page&63)) != 0
}

// Written puts the pages that Present tells of into dst, a bit for each arena
// page, and returns it, grown if it was too short.
func (m *Memory) Written(dst []uint64) []uint64 { return append(dst[:0], m.written...) }

// Zero tells whether the page is all zero.
func (m *Memory) Zero(page uint32) bool {
	return !m.Present(page) || m.Here(page) && *m.page(page) == zeroPage
}

// Leaves gives the hashes of all pages; those of absent pages are the promised
// ones. Only pages dirtied since the last call are hashed. The result is valid
// until the next call; the caller does not change it.
func (m *Memory) Leaves() [][16]byte {
	m.makeLeaves()
	m.askAll()
	m.hashDirty = m.hasher.Harvest(m.hashDirty)
	for i, w := range m.hashDirty {
		for w &^= m.gone[i]; w != 0; w &= w - 1 {
			p := uint32(i*64 + bits.TrailingZeros64(w))
			m.leaves[p] = leafOf(m.page(p))
		}
	}
	return m.leaves
}

func (m *Memory) makeLeaves() {
	if m.leaves != nil {
		return
	}
	m.leaves = make([][16]byte, m.pages)
	for i := range m.leaves {
		m.leaves[i] = zeroLeaf
	}
}

// SetParanoid turns the check of the dirty bits on or off: every harvest then
// hashes all memory, slowly, and looks for pages that changed without their bit
// in the harvested consumer's bitmap. Check reports.
func (m *Memory) SetParanoid(on bool) {
	m.paranoid = on
	for _, c := range m.consumers {
		c.base = nil
		if on {
			c.base = m.hashAll()
		}
	}
}

// Check reports the first page that changed without its dirty bit, now or at any
// harvest since SetParanoid(true).
func (m *Memory) Check() error {
	if m.paranoid {
		for _, c := range m.consumers {
			m.noteBroken(c.verify())
		}
	}
	return m.broken
}

func (m *Memory) noteBroken(err error) {
	if m.broken == nil {
		m.broken = err
	}
}

// hashAll hashes all pages, also those that nobody claims to have written.
func (m *Memory) hashAll() [][16]byte {
	l := make([][16]byte, m.pages)
	for p := range l {
		l[p] = m.leafNow(uint32(p))
	}
	return l
}

// leafNow hashes the page, unless it is absent.
func (m *Memory) leafNow(page uint32) [16]byte {
	switch {
	case m.isVague(page):
		return m.ask(page)
	case !m.Here(page):
		return m.leaves[page]
	}
	return leafOf(m.page(page))
}

// verify compares memory with what it was at the consumer's last harvest.
func (c *Consumer) verify() error {
	for p := range c.m.pages {
		if c.bits[p>>6]&(1<<(p&63)) == 0 && c.m.leafNow(p) != c.base[p] {
			return fmt.Errorf("memory: page %d at %#x changed without its dirty bit for %q",
				p, c.m.PageAddr(p), c.name)
		}
	}
	return nil
}

// checkHarvest verifies, and takes what is about to be harvested as the base of
// the next check.
func (c *Consumer) checkHarvest() {
	c.m.noteBroken(c.verify())
	for i, w := range c.bits {
		for ; w != 0; w &= w - 1 {
			p := uint32(i*64 + bits.TrailingZeros64(w))
			c.base[p] = c.m.leafNow(p)
		}
	}
}
