package mem

import "fmt"

// Watcher is the engines' side of writes that do not come from their own stores.
// It is called after the write.
type Watcher interface {
	// CodeWritten: n bytes from off of a page with FlagCode were written.
	CodeWritten(page uint32, off, n int)
	// TableWritten: an aligned 8-byte entry of a page with FlagTable changed.
	TableWritten(page uint32, off int, old, new uint64)
	// Vanished: pages became absent. Nothing cached of memory holds any more.
	Vanished()
}

// SetWatcher sets who is told of writes by Write, Load and Restore.
func (m *Memory) SetWatcher(w Watcher) { m.watcher = w }

// chunk is a part of an access that lies in one page.
type chunk struct {
	off  uint64
	kind Kind
	ok   bool // there is memory
	n    int  // bytes
}

// chunk looks up the first part of size bytes at pa. Past the end of the
// physical address space all is hole, to any size.
func (m *Memory) chunk(pa uint64, size int) chunk {
	if pa >= addrLimit {
		return chunk{n: size}
	}
	c := chunk{n: min(size, PageSize-int(pa%PageSize))}
	c.off, c.kind, c.ok = m.Lookup(pa)
	return c
}

// Read copies from guest physical memory. Where there is none it reads as 0xff.
// False: a page is absent, what b holds is of no use, and the whole must be read
// again later.
func (m *Memory) Read(pa uint64, b []byte) bool {
	for len(b) != 0 {
		c := m.chunk(pa, len(b))
		if c.ok {
			if page := uint32(c.off >> PageShift); m.flags[page]&FlagAbsent != 0 {
				return m.refuse(PageAbsent, page)
			}
			copy(b[:c.n], m.b[c.off:])
		} else {
			for i := range b[:c.n] {
				b[i] = 0xff
			}
		}
		pa, b = pa+uint64(c.n), b[c.n:]
	}
	return true
}

// Write is how devices and firmware write to guest memory. What falls on ROM or
// on no memory is dropped. False: see Refused; pages before the one that could
// not be written are written, the whole must be written again later.
func (m *Memory) Write(pa uint64, b []byte) bool {
	for len(b) != 0 {
		c := m.chunk(pa, len(b))
		if c.ok && c.kind == RAM && !m.put(c.off, b[:c.n]) {
			return false
		}
		pa, b = pa+uint64(c.n), b[c.n:]
	}
	return true
}

// Load writes the content of RAM or ROM, for firmware images. Unlike a guest's,
// such a write must find memory everywhere.
func (m *Memory) Load(pa uint64, b []byte) error {
	if end := pa + uint64(len(b)); end < pa || !m.covered(pa, len(b)) {
		return fmt.Errorf("memory: load %d bytes at %#x: not all of it is memory", len(b), pa)
	}
	for len(b) != 0 {
		c := m.chunk(pa, len(b))
		if !m.put(c.off, b[:c.n]) {
			return fmt.Errorf("memory: load at %#x: %v", pa, m.refused.Why)
		}
		pa, b = pa+uint64(c.n), b[c.n:]
	}
	return nil
}

// Ready prepares a Load: afterwards, until the next harvest or epoch, it is not
// refused. False: see Refused. Where there is no memory it prepares nothing.
func (m *Memory) Ready(pa uint64, size int) bool {
	for size != 0 {
		c := m.chunk(pa, size)
		if c.ok && !m.Touch(uint32(c.off>>PageShift)) {
			return false
		}
		pa, size = pa+uint64(c.n), size-c.n
	}
	return true
}

func (m *Memory) covered(pa uint64, size int) bool {
	for size != 0 {
		c := m.chunk(pa, size)
		if !c.ok {
			return false
		}
		pa, size = pa+uint64(c.n), size-c.n
	}
	return true
}

// Restore replaces the content of an arena page of any kind.
func (m *Memory) Restore(page uint32, b []byte) error {
	if page >= m.pages || len(b) != PageSize {
		return fmt.Errorf("memory: restore page %d of %d: %d bytes, must be %d", page, m.pages, len(b), PageSize)
	}
	if !m.put(uint64(page)<<PageShift, b) {
		return fmt.Errorf("memory: restore page %d: %v", page, m.refused.Why)
	}
	return nil
}

// RestoreHashed is Restore for content whose leaf is known: it is not hashed again.
func (m *Memory) RestoreHashed(page uint32, b []byte, leaf [16]byte) error {
	if err := m.Restore(page, b); err != nil {
		return err
	}
	m.makeLeaves()
	m.leaves[page] = leaf
	word, bit := page>>6, uint64(1)<<(page&63)
	if h := m.hasher; h.bits[word]&bit != 0 {
		h.bits[word] &^= bit
		h.count--
	}
	if m.arm(int(word), bit) != 0 {
		m.gen++
	}
	if m.paranoid {
		m.hasher.base[page] = leaf
	}
	return nil
}

// put writes within one page and tells everybody. False: nothing was done.
func (m *Memory) put(off uint64, b []byte) bool {
	page := uint32(off >> PageShift)
	if !m.Touch(page) {
		return false
	}
	f := m.Flags(page)
	if f == 0 || m.watcher == nil {
		copy(m.b[off:], b)
		return true
	}
	var old [PageSize]byte
	if f&FlagTable != 0 {
		old = *m.page(page)
	}
	copy(m.b[off:], b)
	in := int(off % PageSize)
	if f&FlagCode != 0 {
		m.watcher.CodeWritten(page, in, len(b))
	}
	if f&FlagTable != 0 {
		m.tellTables(page, &old, in, in+len(b))
	}
	return true
}

// tellTables reports the entries in [from, to) that changed.
func (m *Memory) tellTables(page uint32, old *[PageSize]byte, from, to int) {
	now := m.page(page)
	for o := from &^ 7; o < to; o += 8 {
		was, is := Load64(old[:], uint64(o)), Load64(now[:], uint64(o))
		if was != is {
			m.watcher.TableWritten(page, o, was, is)
		}
	}
}
