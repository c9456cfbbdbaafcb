package control

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"godwit/migrate"
)

// States of an operation.
const (
	OpRunning   = "running"
	OpDone      = "done"
	OpFailed    = "failed"
	OpCancelled = "cancelled"
)

// Op is a long operation.
type Op struct {
	ID     string          `json:"id"`
	Verb   string          `json:"verb"`
	State  string          `json:"state"`
	Done   uint64          `json:"done"`
	Total  uint64          `json:"total"`
	Unit   string          `json:"unit,omitempty"`
	Error  *Error          `json:"error,omitempty"`
	Saved  *SaveResult     `json:"saved,omitempty"`
	Snap   *SnapResult     `json:"snap,omitempty"`  // taken, or restored
	Event  *migrate.Event  `json:"event,omitempty"` // of a migration: the newest
	Report *migrate.Report `json:"report,omitempty"`
	Status *Status         `json:"status,omitempty"` // of the VM that a receive brought
}

// Event is one step of an operation.
type Event struct {
	ID   int    // from 1
	Name string // progress; of a migration what its event tells, refused, arrived; done, failed, cancelled
	Op   Op
}

// final tells that no event follows.
func (e *Event) final() bool { return e.Op.State != OpRunning }

// maxEvents is how many events of one operation are kept for clients that
// reconnect. Of progress only the newest matter: it goes first.
const maxEvents = 256

// op is a running operation with its history.
type op struct {
	cancel context.CancelFunc

	mu     sync.Mutex
	cur    Op            // guarded by mu
	events []Event       // guarded by mu; the last maxEvents
	last   int           // guarded by mu; id of the newest
	more   chan struct{} // guarded by mu; closed when an event is added

	once sync.Once
	read chan struct{} // closed when a client knows the end
}

// known notes that a client knows how it ended.
func (p *op) known() { p.once.Do(func() { close(p.read) }) }

// ops are the operations of a VM.
type ops struct {
	mu  sync.Mutex
	all map[string]*op
}

func (o *ops) start(verb, unit string) (*op, context.Context) {
	ctx, cancel := context.WithCancel(context.Background())
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[string]*op{}
	}
	id := fmt.Sprint(len(o.all) + 1)
	if verb == "receive" {
		id = verb // there is one, and clients know it without having begun it
	}
	p := &op{cancel: cancel, more: make(chan struct{}), read: make(chan struct{})}
	p.cur = Op{ID: id, Verb: verb, State: OpRunning, Unit: unit}
	o.all[id] = p
	return p, ctx
}

// told waits until clients know how the operations ended that they began.
func (o *ops) told(ctx context.Context) {
	o.mu.Lock()
	var all []*op
	for _, p := range o.all {
		if e := (Event{Op: p.now()}); e.final() {
			all = append(all, p)
		}
	}
	o.mu.Unlock()
	for _, p := range all {
		select {
		case <-p.read:
		case <-ctx.Done():
		}
	}
}

func (o *ops) find(id string) (*op, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.all[id]; p != nil {
		return p, nil
	}
	return nil, Fail("not-found", fmt.Sprintf("no operation has id %q", id), "", "")
}

// emit changes the operation and tells its followers.
func (p *op) emit(name string, f func(*Op)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.cur)
	p.last++
	if len(p.events) == maxEvents {
		old := max(slices.IndexFunc(p.events, func(e Event) bool { return e.Name == progressEvent }), 0)
		p.events = slices.Delete(p.events, old, old+1)
	}
	p.events = append(p.events, Event{p.last, name, p.cur})
	close(p.more)
	p.more = make(chan struct{})
}

const progressEvent = "progress"

// progress tells how far it is.
func (p *op) progress(done, total uint64) {
	p.emit(progressEvent, func(o *Op) { o.Done, o.Total = done, total })
}

// migrating tells what happened in a migration.
func (p *op) migrating(e migrate.Event) {
	p.emit(e.What, func(o *Op) {
		o.Event, o.Error = &e, nil
		if e.What == migrate.EventProgress {
			o.Done, o.Total = e.Done, e.Total
		}
	})
}

func (p *op) id() string { return p.now().ID }

// finish ends the operation.
func (p *op) finish(err *Error, f func(*Op)) {
	state := OpDone
	switch {
	case err != nil && err.Code == "cancelled":
		state = OpCancelled
	case err != nil:
		state = OpFailed
	}
	p.emit(state, func(o *Op) {
		o.State, o.Error = state, err
		if err == nil && f != nil {
			f(o)
		}
	})
}

func (p *op) now() Op {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cur
}

// since gives the kept events after id, and a channel that closes at the next.
func (p *op) since(id int) ([]Event, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, e := range p.events {
		if e.ID > id {
			return append([]Event(nil), p.events[i:]...), p.more
		}
	}
	return nil, p.more
}
