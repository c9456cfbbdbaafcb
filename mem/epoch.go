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
// Locks: a claim, then a pool's mutex; never two claims.

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
	slotDone               // nobody needs it
	slotZero               // was never written before, so all zero
	slotSaved              // + index of the pre-image
)

// Epoch is the content of memory at the instant it was opened.
type Epoch struct {
	m    *Memory
	slot []int32 // by page; guarded by the page's claim
	pool pool
}

// pool keeps the pre-images of one epoch.
type pool struct {
	mu   sync.Mutex // guards what follows; an image's content is guarded by its page's claim
	max  int
	img  []*[PageSize]byte // grows on demand up to max
	free []int32           // images not in use
}

// take reserves a pre-image, from the pool, from what closed epochs left, or
// from the heap. -1: the pool is full.
func (p *pool) take(spare *spares) (int32, *[PageSize]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n != 0 {
		i := p.free[n-1]
		p.free = p.free[:n-1]
		return i, p.img[i]
	}
	if len(p.img) >= p.max {
		return -1, nil
	}
	p.img = append(p.img, spare.image())
	return int32(len(p.img) - 1), p.img[len(p.img)-1]
}

func (p *pool) put(i int32) {
	p.mu.Lock()
	p.free = append(p.free, i)
	p.mu.Unlock()
}

func (p *pool) at(i int32) *[PageSize]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.img[i]
}

// maxSpare bounds what closed epochs leave for later ones, in pages.
const maxSpare = 64 << 20 / PageSize

// spares is what closed epochs left: new memory costs the host a page fault for
// each page, several times the copy. Used by the machine goroutine only.
type spares struct {
	img  []*[PageSize]byte
	slot []int32
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

func (s *spares) slots(pages uint32) []int32 {
	if s.slot == nil {
		return make([]int32, pages)
	}
	slot := s.slot
	s.slot = nil
	clear(slot)
	return slot
}

// keep takes over what an epoch used.
func (s *spares) keep(e *Epoch) {
	s.slot = e.slot
	s.img = append(s.img, e.pool.img[:min(len(e.pool.img), maxSpare-len(s.img))]...)
}

// Epoch opens an epoch that keeps at most so many pre-images, in pages. Only the
// machine goroutine opens and closes epochs.
func (m *Memory) Epoch(pool int) *Epoch {
	e := &Epoch{m: m, slot: m.spare.slots(m.pages)}
	e.pool.max = min(max(pool, 0), int(m.pages))
	m.epochs = append(m.epochs, e)
	m.armAll()
	return e
}

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

// savePage saves the content in every epoch that needs it, or in none.
// Preconditions: the page's claim is held.
func (m *Memory) savePage(page uint32) bool {
	m.saved = m.saved[:0]
	for _, e := range m.epochs {
		if e.slot[page] != slotLive {
			continue
		}
		n, img := e.pool.take(&m.spare)
		if n < 0 {
			for _, e := range m.saved {
				e.pool.put(e.slot[page] - slotSaved)
				e.slot[page] = slotLive
			}
			return false
		}
		*img = *m.page(page)
		e.slot[page] = slotSaved + n
		m.saved = append(m.saved, e)
	}
	return true
}

// Pages is the number of arena pages.
func (e *Epoch) Pages() uint32 { return e.m.pages }

// Read copies the page's content at the epoch into b. Any goroutine may call it
// while the guest runs.
// Preconditions: the epoch is open, Done was not called for the page.
func (e *Epoch) Read(page uint32, b *[PageSize]byte) {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	switch s := e.slot[page]; {
	case s == slotDone:
		panic(fmt.Sprintf("godwit bug: epoch: page %d read after done", page))
	case s == slotZero || s == slotLive && !e.m.Present(page):
		*b = [PageSize]byte{}
	case s == slotLive:
		*b = *e.m.page(page)
	default:
		*b = *e.pool.at(s - slotSaved)
	}
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

// Leaf is the hash of the page's content at the epoch. Any goroutine may call it.
// Preconditions: as for Read.
func (e *Epoch) Leaf(page uint32) [16]byte {
	if !e.Present(page) {
		return zeroLeaf
	}
	var b [PageSize]byte
	e.Read(page, &b)
	return leafOf(&b)
}

// Done says that nobody will read the page in this epoch again: its pre-image
// returns to the pool, later writes save none. Any goroutine may call it.
func (e *Epoch) Done(page uint32) {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	s := e.slot[page]
	e.slot[page] = slotDone
	if s >= slotSaved {
		e.pool.put(s - slotSaved)
	}
	e.m.signalRoom()
}

// Held is how many pre-images the epoch holds now. Any goroutine may call it.
func (e *Epoch) Held() int {
	e.pool.mu.Lock()
	defer e.pool.mu.Unlock()
	return len(e.pool.img) - len(e.pool.free)
}

// Changed64 says which 64-byte lines of the page, bit 0 first, differ between
// the epoch and now; all ones after Done, when nothing is known. Only for the
// machine goroutine.
func (e *Epoch) Changed64(page uint32) uint64 {
	cl := e.m.claim(page)
	cl.Lock()
	defer cl.Unlock()
	switch s := e.slot[page]; s {
	case slotDone:
		return ^uint64(0)
	case slotLive:
		return 0
	case slotZero:
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
	e.slot, e.pool.img, e.pool.free = nil, nil, nil
	m.signalRoom()
}

// Room receives after Done or Close, when what stalled may be tried again. One
// receipt can stand for many calls.
func (m *Memory) Room() <-chan struct{} { return m.room }

func (m *Memory) signalRoom() {
	select {
	case m.room <- struct{}{}:
	default:
	}
}
