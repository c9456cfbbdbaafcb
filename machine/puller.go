package machine

import (
	"errors"
	"fmt"
	"sync"

	"godwit/mem"
	"godwit/snapshot"
)

// ErrPromise is returned for a page whose content is not what was promised.
var ErrPromise = errors.New("the page's content does not have the promised hash")

// Puller brings a machine the pages of its memory that are absent, wherever they
// come from. One goroutine calls it, the machine's or another.
type Puller struct {
	m  *Machine
	do func(f func() error) error // nil: the machine does not run

	left  []uint64                  // promised pages that did not come
	n     int                       // how many
	leaf  [][snapshot.LeafSize]byte // by page, of those in left
	wants chan struct{}
	end   func()

	mu     sync.Mutex
	room   *sync.Cond // of mu: the queue was emptied, or err is set
	wanted uint32     // guarded by mu; valid if want is set
	want   bool       // guarded by mu
	queue  []arrival  // guarded by mu; for the machine's goroutine
	spare  []arrival  // guarded by mu; room for the queue that follows
	err    error      // guarded by mu; the machine is gone
}

// arrival is a page on its way into memory.
type arrival struct {
	page    uint32
	content [mem.PageSize]byte
}

// maxArrivals bounds the pages that wait for the machine's goroutine.
const maxArrivals = 256

// NewPuller makes a Puller for a machine that does not run yet, or stands still.
func NewPuller(m *Machine) *Puller {
	p := &Puller{m: m, left: make([]uint64, (m.mem.Pages()+63)/64), wants: make(chan struct{}, 1)}
	p.room = sync.NewCond(&p.mu)
	p.end = m.OnStall(p.stalled)
	return p
}

// Promise makes pages absent in place of those that were so far, and says which
// leaves they will have.
func (p *Puller) Promise(pages []uint64, leaf func(page uint32) [snapshot.LeafSize]byte) error {
	p.m.mem.Keep()
	clear(p.left)
	if p.n = 0; p.leaf == nil {
		p.leaf = make([][snapshot.LeafSize]byte, p.m.mem.Pages())
	}
	if err := p.m.mem.Absent(pages, leaf); err != nil {
		return err
	}
	each(p.m.mem.Gone(nil), func(page uint32) {
		p.left[page>>6] |= 1 << (page & 63)
		p.leaf[page] = leaf(page)
		p.n++
	})
	return nil
}

// Start says that the machine runs from now on, and how to have a function run on
// its goroutine.
func (p *Puller) Start(do func(f func() error) error) { p.do = do }

// Missing is how many promised pages have not come.
func (p *Puller) Missing() int { return p.n }

// Wanted is the page that the guest waits for now, or a device of it.
func (p *Puller) Wanted() (page uint32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted, p.want
}

// Wants receives when Wanted may have changed. A receipt can stand for many
// changes.
func (p *Puller) Wants() <-chan struct{} { return p.wants }

// stalled is told by the machine.
func (p *Puller) stalled(r mem.Refusal, on bool) {
	if r.Why != mem.PageAbsent {
		return
	}
	p.mu.Lock()
	p.wanted, p.want = r.Page, on
	p.mu.Unlock()
	select {
	case p.wants <- struct{}{}:
	default:
	}
}

// Fill brings a promised page; others are left as they are. ErrPromise: it is not
// what was promised, and still absent. Where the machine runs, the page gets there
// soon; Fill waits only when too many are on their way.
func (p *Puller) Fill(page uint32, b []byte) error {
	if page >= p.m.mem.Pages() || len(b) != mem.PageSize {
		return fmt.Errorf("page %d of %d has %d bytes, must have %d", page, p.m.mem.Pages(), len(b), mem.PageSize)
	}
	if !bit(p.left, page) {
		return nil
	}
	content := (*[mem.PageSize]byte)(b)
	if got := snapshot.LeafOf(content); got != p.leaf[page] {
		return fmt.Errorf("page %d: %w: leaf %x, promised %x", page, ErrPromise, got, p.leaf[page])
	}
	if p.do == nil {
		p.m.mem.FillChecked(page, content)
	} else if err := p.send(page, content); err != nil {
		return err
	}
	p.left[page>>6] &^= 1 << (page & 63)
	p.n--
	return nil
}

// send queues a page for the machine's goroutine.
func (p *Puller) send(page uint32, content *[mem.PageSize]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) >= maxArrivals && p.err == nil {
		p.room.Wait()
	}
	if p.err != nil {
		return p.err
	}
	if p.queue == nil {
		if p.queue, p.spare = p.spare, nil; p.queue == nil {
			p.queue = make([]arrival, 0, maxArrivals)
		}
	}
	n := len(p.queue)
	p.queue = p.queue[:n+1]
	p.queue[n].page, p.queue[n].content = page, *content
	if n == 0 {
		go p.deliver()
	}
	return nil
}

// deliver hands the queue over.
func (p *Puller) deliver() {
	err := p.do(func() error {
		p.mu.Lock()
		q := p.queue
		p.queue = nil
		p.room.Broadcast()
		p.mu.Unlock()
		for i := range q {
			p.m.mem.FillChecked(q[i].page, &q[i].content)
		}
		p.mu.Lock()
		p.spare = q[:0]
		p.mu.Unlock()
		return nil
	})
	if err != nil {
		p.mu.Lock()
		p.err = err
		p.room.Broadcast()
		p.mu.Unlock()
	}
}

// Close ends it. For the machine's goroutine, or when that does not run.
func (p *Puller) Close() { p.end() }
