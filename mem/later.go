package mem

import (
	"errors"
	"fmt"
	"math/bits"
)

// Later declares pages absent whose leaves need not be known yet: leaf finds one out
// when somebody asks for it. FillChecked brings the content. Unlike Absent it costs the
// same for a memory of any size, and pages may turn out to be zero.
//
// It is for memory that was never written; nothing may run meanwhile. leaf may be
// called by the machine's goroutine until the last page has come.
func (m *Memory) Later(pages []uint64, leaf func(page uint32) ([16]byte, error)) error {
	if len(m.epochs) != 0 || m.missing != 0 {
		return fmt.Errorf("memory: pages become absent while %d epochs are open and %d pages are absent", len(m.epochs), m.missing)
	}
	m.vague, m.later = make([]uint64, len(m.hot)), leaf
	for i, w := range pages {
		if w == 0 {
			continue // and nothing of the tables is looked at, which may be new to the host
		}
		if i >= len(m.hot) || w&m.written[i] != 0 {
			return errors.New("memory: pages that were written, or are not there, cannot come later")
		}
		m.vague[i] = w
		m.gone[i] |= w
		m.written[i] |= w
		m.missing += bits.OnesCount64(w)
		for ; w != 0; w &= w - 1 {
			m.flags[i*64+bits.TrailingZeros64(w)] |= FlagAbsent
		}
	}
	if m.watcher != nil {
		m.watcher.Vanished()
	}
	m.rebase()
	return nil
}

// isVague tells whether the page's leaf is to be found out.
func (m *Memory) isVague(page uint32) bool {
	return m.vague != nil && m.vague[page>>6]&(1<<(page&63)) != 0
}

// ask finds out the leaf of an absent page.
func (m *Memory) ask(page uint32) [16]byte {
	leaf, err := m.later(page)
	if err != nil && m.lost == nil {
		m.lost = fmt.Errorf("memory: the hash of page %d is not to be had: %w", page, err)
	}
	return leaf
}

// askAll finds out all leaves.
func (m *Memory) askAll() {
	for i, w := range m.vague {
		for ; w != 0; w &= w - 1 {
			page := uint32(i*64 + bits.TrailingZeros64(w))
			m.leaves[page] = m.ask(page)
		}
	}
	m.vague = nil
}

// Lost is why hashes are not to be trusted: that of an absent page could not be
// found out.
func (m *Memory) Lost() error { return m.lost }
