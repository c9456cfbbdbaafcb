package cpu

import "godwit/mem"

// Shared is what the vCPUs of one machine have in common besides memory: the
// translated code, and which page-table entries their TLBs rest on.
type Shared struct {
	mem    *mem.Memory
	cpus   []*CPU
	code   codeCache
	used   []uint32    // by arena page: its mask, 0 where it never had one
	masks  [][8]uint64 // the 512 qwords of a page that live walks used; mask 0 is nobody's
	tables []uint32    // pages with something in their mask
	wtag   []uint8     // by arena page: some TLB may hold a write tag
	gen    uint32      // last generation handed out, see CPU.newGen
}

// NewShared makes the common part for a machine with memory m, and becomes m's
// watcher so that DMA drops code and translations as stores do.
func NewShared(m *mem.Memory) *Shared {
	s := &Shared{mem: m, gen: genAny}
	s.used, s.masks = make([]uint32, m.Pages()), make([][8]uint64, 1)
	s.wtag = make([]uint8, m.Pages())
	s.code.init(m.Pages())
	m.SetWatcher(s)
	return s
}

// markUsed notes that a live translation rests on the entry at pa.
func (s *Shared) markUsed(pa uint64) {
	off, _, ok := s.mem.Lookup(pa)
	if !ok {
		return
	}
	page, q := uint32(off>>mem.PageShift), off>>3&511
	if s.used[page] == 0 {
		s.used[page] = uint32(len(s.masks))
		s.masks = append(s.masks, [8]uint64{})
	}
	m := &s.masks[s.used[page]]
	if m[q>>6]&(1<<(q&63)) != 0 {
		return
	}
	m[q>>6] |= 1 << (q & 63)
	if s.mem.Flags(page)&mem.FlagTable == 0 {
		s.mem.SetFlag(page, mem.FlagTable)
		s.tables = append(s.tables, page)
		s.dropWrites(page)
	}
}

// dropWrites takes write permission for an arena page out of every TLB.
func (s *Shared) dropWrites(page uint32) {
	if s.wtag[page] == 0 {
		return
	}
	s.wtag[page] = 0
	for _, c := range s.cpus {
		for i := range c.tlb {
			c.tlb[i].dropWrites(uint64(page) << mem.PageShift)
		}
	}
}

// tableAt tells whether a live translation rests on any of the n bytes.
func (s *Shared) tableAt(off uint64, n int) bool {
	m := &s.masks[s.used[off>>mem.PageShift]]
	for q := off >> 3 & 511; q <= (off+uint64(n)-1)>>3&511; q++ {
		if m[q>>6]&(1<<(q&63)) != 0 {
			return true
		}
	}
	return false
}

// tableChanged empties all TLBs: an entry in use got another value.
func (s *Shared) tableChanged() {
	for _, p := range s.tables {
		s.masks[s.used[p]] = [8]uint64{}
		s.mem.ClearFlag(p, mem.FlagTable)
	}
	s.tables = s.tables[:0]
	for _, c := range s.cpus {
		c.FlushTLB()
	}
}

// CodeWritten tells of a write past the engines, by DMA.
func (s *Shared) CodeWritten(page uint32, off, n int) {
	s.code.drop(uint64(page)<<mem.PageShift+uint64(off), n, s.mem)
}

// TableWritten tells of a write to page-table entries past the engines.
func (s *Shared) TableWritten(page uint32, off int, old, v uint64) {
	if old != v && s.tableAt(uint64(page)<<mem.PageShift+uint64(off), 8) {
		s.tableChanged()
	}
}

// Vanished tells that pages became absent.
func (s *Shared) Vanished() { s.Reset() }

// Reset forgets everything, after memory was replaced as a whole.
func (s *Shared) Reset() {
	s.tableChanged()
	s.flushCode()
}

func (s *Shared) codeAt(off uint64, n int) bool { return s.code.at(off, n) }
func (s *Shared) dropCode(off uint64, n int)    { s.code.drop(off, n, s.mem) }
