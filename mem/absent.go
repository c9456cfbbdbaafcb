package mem

import (
	"errors"
	"fmt"
	"math/bits"
)

// ErrLeaf is returned for content that is not what was promised.
var ErrLeaf = errors.New("content is not what was promised")

// Absent declares pages absent: their content is still to come and will have the
// leaf that leaf gives. Hashes are at once those of the promised memory. Until
// Fill no access to such a page succeeds, so whoever needs it waits, and notices
// nothing else. Pages promised to be zero are so from now on.
//
// No epoch may be open; nothing may run meanwhile.
func (m *Memory) Absent(pages []uint64, leaf func(page uint32) [16]byte) error {
	if len(m.epochs) != 0 {
		return fmt.Errorf("memory: pages become absent while %d epochs are open", len(m.epochs))
	}
	m.Leaves()
	for i, w := range pages {
		for ; w != 0; w &= w - 1 {
			page := uint32(i*64 + bits.TrailingZeros64(w))
			if page >= m.pages {
				return fmt.Errorf("memory: page %d of %d cannot be absent", page, m.pages)
			}
			m.promise(page, leaf(page))
		}
	}
	m.gen++
	if m.watcher != nil {
		m.watcher.Vanished()
	}
	m.rebase()
	return nil
}

// promise makes one page absent, or zero.
func (m *Memory) promise(page uint32, leaf [16]byte) {
	m.leaves[page] = leaf
	word, bit := page>>6, uint64(1)<<(page&63)
	m.arm(int(word), bit)
	if leaf == zeroLeaf {
		if m.written[word]&bit != 0 {
			*m.page(page) = zeroPage
		}
		return
	}
	m.written[word] |= bit
	if m.gone[word]&bit == 0 {
		m.gone[word] |= bit
		m.missing++
	}
	m.flags[page] |= FlagAbsent
}

// rebase takes memory as it is, or is promised to be, as what the paranoid mode
// compares with.
func (m *Memory) rebase() {
	if m.paranoid {
		for _, c := range m.consumers {
			c.base = m.hashAll()
		}
	}
}

// Keep takes promises back: what was absent is here, whatever it holds. For a
// machine that has not run since.
func (m *Memory) Keep() {
	for i, w := range m.gone {
		for ; w != 0; w &= w - 1 {
			page := uint32(i*64 + bits.TrailingZeros64(w))
			m.arrive(page)
			m.Touch(page) // its leaf is not known
		}
	}
	m.rebase()
}

// Fill brings the content of an absent page. It is no write of the guest: no
// consumer is told, epochs hold what was promised. A page that is here already
// stays as it is. ErrLeaf: b is not what was promised, and the page stays absent.
func (m *Memory) Fill(page uint32, b []byte) error {
	if page >= m.pages || len(b) != PageSize {
		return fmt.Errorf("memory: fill page %d of %d: %d bytes, must be %d", page, m.pages, len(b), PageSize)
	}
	if m.Here(page) {
		return nil
	}
	content := (*[PageSize]byte)(b)
	if got, want := leafOf(content), m.leafNow(page); got != want {
		return fmt.Errorf("memory: fill page %d: %w: leaf %x, promised %x", page, ErrLeaf, got, want)
	}
	m.FillChecked(page, content)
	return nil
}

// FillChecked is Fill for content that is known to be what was promised.
func (m *Memory) FillChecked(page uint32, b *[PageSize]byte) {
	if m.Here(page) {
		return
	}
	cl := m.claim(page)
	cl.Lock()
	*m.page(page) = *b
	m.arrive(page)
	cl.Unlock()
	if m.isVague(page) {
		m.vague[page>>6] &^= 1 << (page & 63)
		m.hasher.add(page)
	}
	m.signalRoom()
}

func (m *Memory) arrive(page uint32) {
	m.gone[page>>6] &^= 1 << (page & 63)
	m.flags[page] &^= FlagAbsent
	m.missing--
}

// Here tells whether the page's content is here. It is unless the page is absent.
func (m *Memory) Here(page uint32) bool {
	return m.gone[page>>6]&(1<<(page&63)) == 0
}

// CanRead is Here for somebody who stalls if not: then Refused tells of it.
func (m *Memory) CanRead(page uint32) bool {
	return m.flags[page]&FlagAbsent == 0 || m.refuse(PageAbsent, page)
}

// Missing is how many pages are absent.
func (m *Memory) Missing() int { return m.missing }

// Gone puts the absent pages into dst, a bit for each arena page, and returns it,
// grown if it was too short.
func (m *Memory) Gone(dst []uint64) []uint64 { return append(dst[:0], m.gone...) }
