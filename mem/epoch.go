package mem

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

// Epochs: the content of memory at an instant, while the guest runs on.
//
// Opening an epoch makes all pages clean, so the first write to a page comes
// through Touch, which saves the content first. Only the machine goroutine
// writes to the arena, and never between Touch's start and its end. A reader
// holds the page's claim while it looks where the content is and while it copies
// it. So either the reader has the claim first: Touch waits, and the store comes
// after the copy. Or Touch has it first: the reader finds the pre-image. Stores
// to pages without FlagClean happen outside any claim, but for those every open
// epoch has its pre-image or is done, so no reader looks at them.
//
// Locks: a claim, then a pool's mutex. Only the machine goroutine ever holds two
// claims, so it waits for nobody who waits for it.

const claimShards = 256

// claim guards 64 neighbouring pages, and other sets of 64: their slots in every
// epoch, their bits in Memory.written, and their content while it is copied.
type claim struct {
	sync.Mutex
	_ [56]byte // one to a cache line
}

func (m *Memory) claim(page uint32) *claim { return &m.claims[page>>6%claimShards] }

// Values of Epoch.slot; from slotSaved on a pre-image's number.
const (
	slotLive  int32 = iota // not written since: the content is in the arena
	slotLost               // written since, and not kept
	slotZero               // was never written before, so all zero
	slotSaved              // + index of the pre-image
)

// Epoch is the content of memory at the instant it was opened.
type Epoch struct {
	m      *Memory
	slot   []int32  // by page; guarded by the page's claim
	need   []uint64 // pages that may still be read; guarded by the page's claim
	base   bool     // pre-images of other pages are kept as well, while there is room
	frozen bool
	pool   pool
}

// pool keeps the pre-images of one epoch.
type pool struct {
	mu   sync.Mutex // guards what follows; an image's content is guarded by its page's claim
	max  int
	img  []*[PageSize]byte // grows on demand up to max, by the machine goroutine, which reads it without mu
	free []int32           // images not in use
	kept []uint32          // pages whose image is kept for Base only
}

// take reserves a pre-image, from the pool, from what closed epochs left, or
// from the heap. -1: the pool is full.
func (p *pool) take(spare *spares) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n != 0 {
		i := p.free[n-1]
		p.free = p.free[:n-1]
		return i
	}
	if len(p.img) >= p.max {
		return -1
	}
	p.img = append(p.img, spare.image())
	return int32(len(p.img) - 1)
}

func (p *pool) put(i int32) {
	p.mu.Lock()
	p.free = append(p.free, i)
	p.mu.Unlock()
}

func (p *pool) keep(page uint32) {
	p.mu.Lock()
	p.kept = append(p.kept, page)
	p.mu.Unlock()
}

// evict names a page whose image is kept for Base only, and takes it off the list.
func (p *pool) evict() (page uint32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.kept)
	if n == 0 {
		return 0, false
	}
	page = p.kept[n-1]
	p.kept = p.kept[:n-1]
	return page, true
}

func (p *pool) at(i int32) *[PageSize]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.img[i]
}

// maxSpare bounds what closed epochs leave for later ones, in pages.
const maxSpare = 64 << 20 / PageSize

// maxSpareEpochs bounds what closed epochs leave of their tables.
const maxSpareEpochs = 2

// spares is what closed epochs left: new memory costs the host a page fault for
// each page, several times the copy. Used by the machine goroutine only.
type spares struct {
	img    []*[PageSize]byte
	tables []tables
}

// tables is what an epoch needs besides images.
type tables struct {
	slot []int32
	need []uint64
	img  []*[PageSize]byte // the rest without content
	free []int32
	kept []uint32
}

func (s *spares) image() *[PageSize]byte {
	n := len(s.img)
	if n == 0 {
		return new([PageSize]byte)
	}
	img := s.img[n-1]
	s.img = s.img[:n-1]
	return img
}

func (s *spares) take(pages uint32, words int) tables {
	n := len(s.tables)
	if n == 0 {
		return tables{slot: make([]int32, pages), need: make([]uint64, words)}
	}
	t := s.tables[n-1]
	s.tables = s.tables[:n-1]
	clear(t.slot)
	return t
}

// keep takes over what an epoch used.
func (s *spares) keep(e *Epoch) {
	p := &e.pool
	s.img = append(s.img, p.img[:min(len(p.img), maxSpare-len(s.img))]...)
	if len(s.tables) < maxSpareEpochs {
		clear(p.img)
		s.tables = append(s.tables, tables{e.slot, e.need, p.img[:0], p.free[:0], p.kept[:0]})
	}
}

// Epoch opens an epoch that keeps at most so many pre-images, in pages. Every
// page may be read until Done. Only the machine goroutine opens and closes
// epochs.
func (m *Memory) Epoch(pool int) *Epoch {
	e := m.epoch(pool)
	for i := range e.need {
		e.need[i] = ^uint64(0)
	}
	return e
}

// EpochOf opens an epoch of which only the pages of need, a bit for each arena
// page, may be read, until Done. Writes to all others save nothing.
func (m *Memory) EpochOf(pool int, need []uint64) *Epoch {
	e := m.epoch(pool)
	clear(e.need[copy(e.need, need):])
	return e
}

// Pass opens an epoch of which only the pages of need, a bit for each arena page,
// may be read, until Sent. Pre-images of all other pages, and of these after
// Sent, are kept for Base as far as the pool has room; they never stall a writer.
func (m *Memory) Pass(pool int, need []uint64) *Epoch {
	e := m.epoch(pool)
	e.base = true
	clear(e.need[copy(e.need, need):])
	return e
}

func (m *Memory) epoch(pool int) *Epoch {
	e := &Epoch{m: m}
	t := m.spare.take(m.pages, len(m.hot))
	e.slot, e.need = t.slot, t.need
	e.pool.img, e.pool.free, e.pool.kept = t.img, t.free, t.kept
	e.pool.max = min(max(pool, 0), int(m.pages))
	m.epochs = append(m.epochs, e)
	m.armAll()
	return e
}

// needs tells whether the page may still be read.
// Preconditions: the page's claim is held.
func (e *Epoch) needs(page uint32) bool { return e.need[page>>6]&(1<<(page&63)) != 0 }

// touchEpochs is Touch's part for epochs and Memory.written: all or nothing.
func (m *Memory) touchEpochs(page uint32) bool {
	cl := m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	present := m.Present(page)
	if present && !m.savePage(page) {
		return false
	}
	if !present {
		for _, e := range m.epochs {
			if e.slot[page] == slotLive {
				e.slot[page] = slotZero
			}
		}
		m.written[page>>6] |= 1 << (page & 63)
	}
	return true
}

// savePage saves the content in every epoch that needs it, or in none; then in
// those that only would like it.
// Preconditions: the page's claim is held.
func (m *Memory) savePage(page uint32) bool {
	m.saved = m.saved[:0]
	for _, e := range m.epochs {
		if e.slot[page] != slotLive || !e.needs(page) {
			continue
		}
		n := e.room(page)
		if n < 0 {
			for _, e := range m.saved {
				e.pool.put(e.slot[page] - slotSaved)
				e.slot[page] = slotLive
			}
			return false
		}
		e.save(page, n)
		m.saved = append(m.saved, e)
	}
	for _, e := range m.epochs {
		if e.slot[page] != slotLive {
			continue
		}
		e.slot[page] = slotLost
		if !e.base {
			continue
		}
		if n := e.pool.take(&m.spare); n >= 0 {
			e.save(page, n)
			e.pool.keep(page)
		}
	}
	return true
}

// room finds a place for a pre-image that is needed; -1: there is none.
// Preconditions: the claim of page is held.
func (e *Epoch) room(page uint32) int32 {
	n := e.pool.take(&e.m.spare)
	if n >= 0 || !e.base {
		return n
	}
	old, ok := e.pool.evict()
	if !ok {
		return -1
	}
	if cl := e.m.claim(old); cl != e.m.claim(page) {
		cl.Lock()
		defer cl.Unlock()
	}
	n = e.slot[old] - slotSaved
	e.slot[old] = slotLost
	return n
}

func (e *Epoch) save(page uint32, n int32) {
	*e.pool.img[n] = *e.m.page(page)
	e.slot[page] = slotSaved + n
}

// Pages is the number of arena pages.
func (e *Epoch) Pages() uint32 { return e.m.pages }

// Read copies the page's content at the epoch into b. Any goroutine may call it
// while the guest runs.
// Preconditions: the epoch is open, neither Done nor Sent was called for the
// page, and Here tells that there is something to read.
func (e *Epoch) Read(page uint32, b *[PageSize]byte) {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	switch s := e.slot[page]; {
	case !e.needs(page):
		panic(fmt.Sprintf("godwit bug: epoch: page %d read after done", page))
	case s == slotZero || s == slotLive && !e.m.Present(page):
		*b = [PageSize]byte{}
	case s == slotLive && !e.m.Here(page):
		panic(fmt.Sprintf("godwit bug: epoch: absent page %d read", page))
	case s == slotLive:
		*b = *e.m.page(page)
	default:
		*b = *e.pool.at(s - slotSaved)
	}
}

// Here tells whether the page's content has arrived. Once true, it stays so. Any
// goroutine may call it.
func (e *Epoch) Here(page uint32) bool {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	return e.m.Here(page)
}

// Present tells whether the page was ever written before the epoch. Any
// goroutine may call it.
func (e *Epoch) Present(page uint32) bool {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	s := e.slot[page]
	return s != slotZero && (s != slotLive || e.m.Present(page))
}

// Leaf is the hash of the page's content at the epoch, of an absent page the
// promised one. Any goroutine may call it.
// Preconditions: as for Read, but that the page may be absent.
func (e *Epoch) Leaf(page uint32) [16]byte {
	var b [PageSize]byte
	cl := e.m.claim(page)
	cl.Lock()
	switch s := e.slot[page]; {
	case s == slotZero || s == slotLive && !e.m.Present(page):
		cl.Unlock()
		return zeroLeaf
	case s == slotLive && !e.m.Here(page):
		defer cl.Unlock()
		return e.m.leaves[page]
	}
	cl.Unlock()
	e.Read(page, &b)
	return leafOf(&b)
}

// Done says that nobody will read the page in this epoch again: its pre-image
// returns to the pool, later writes save none. Any goroutine may call it.
func (e *Epoch) Done(page uint32) { e.finish(page, false) }

// Sent is Done, but that the pre-image is kept for Base while there is room. Any
// goroutine may call it.
// Preconditions: the epoch was opened by Pass.
func (e *Epoch) Sent(page uint32) { e.finish(page, true) }

func (e *Epoch) finish(page uint32, keep bool) {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	if !e.needs(page) {
		return
	}
	e.need[page>>6] &^= 1 << (page & 63)
	s := e.slot[page]
	switch {
	case keep && s >= slotSaved:
		e.pool.keep(page)
	case !keep:
		e.slot[page] = slotLost
		if s >= slotSaved {
			e.pool.put(s - slotSaved)
		}
	}
	e.m.signalRoom()
}

// Freeze ends the saving of pre-images. The epoch stays open for Base; the pages
// whose reading nobody reported are lost to it. Only for the machine goroutine.
func (e *Epoch) Freeze() {
	m := e.m
	m.epochs = slices.DeleteFunc(m.epochs, func(o *Epoch) bool { return o == e })
	e.frozen = true
	m.signalRoom()
}

// Base copies the content at a frozen epoch, of a page that was written since,
// into b. False: it was not kept, or the page was never reported as sent. Any
// goroutine may call it.
func (e *Epoch) Base(page uint32, b *[PageSize]byte) bool {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	s := e.slot[page]
	switch {
	case !e.frozen || e.needs(page) || s == slotLive || s == slotLost:
		return false
	case s == slotZero:
		*b = [PageSize]byte{}
	default:
		*b = *e.pool.at(s - slotSaved)
	}
	return true
}

// Held is how many pre-images the epoch holds now. Any goroutine may call it.
func (e *Epoch) Held() int {
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	return len(e.pool.img) - len(e.pool.free)
}

// Changed64 says which 64-byte lines of the page, bit 0 first, differ between
// the epoch and now; all ones where nothing is known: after Done or Freeze, where
// the pre-image was given up, or the page is absent. Only for the machine goroutine.
func (e *Epoch) Changed64(page uint32) uint64 {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	s := e.slot[page]
	switch {
	case s == slotLost || e.frozen:
		return ^uint64(0)
	case s == slotLive:
		return 0
	case s == slotZero:
		return diff64(&zeroPage, e.m.page(page))
	default:
		return diff64(e.pool.at(s-slotSaved), e.m.page(page))
	}
}

func diff64(a, b *[PageSize]byte) (mask uint64) {
	if *a == *b {
		return 0
	}
	for i := range 64 {
		if !bytes.Equal(a[i*64:i*64+64], b[i*64:i*64+64]) {
			mask |= 1 << i
		}
	}
	return mask
}

// Close ends the epoch. No reader may be at work or come later. Closing twice
// does nothing.
func (e *Epoch) Close() {
	if e.slot == nil {
		return
	}
	m := e.m
	m.spare.keep(e)
	m.epochs = slices.DeleteFunc(m.epochs, func(o *Epoch) bool { return o == e })
	e.slot, e.need, e.pool.img, e.pool.free, e.pool.kept = nil, nil, nil, nil, nil
	m.signalRoom()
}

// Room receives when what was refused may be tried again. One receipt can stand
// for many reasons.
func (m *Memory) Room() <-chan struct{} { return m.room }

func (m *Memory) signalRoom() {
	select {
	case m.room <- struct{}{}:
	default:
	}
}
