package migrate

import (
	"bytes"
	"time"

	"godwit/snapshot"
)

// post is post-copy at the source.
type post struct {
	on      bool // the rest follows after the guest
	running bool // it runs there
	owed    bitmap
	at      uint32 // the cursor
	list    list
	faultAt time.Duration // when the fault connection is tried again
	asks    []uint32      // asked for and not sent yet
	apart   []uint32      // sent over the fault connection, which may lose them
	urgent  pager         // of pages asked for: what was pulled may still be on its way out of the other's buffers
}

// toPost stops the guest with pages missing at the destination.
func (s *Source) toPost() error {
	s.out.on = true
	if s.mode == ModeHybrid || s.out.owed == nil {
		s.out.owed = newBitmap(s.pages)
	}
	s.pager.codec.value(0) // from here on the guest waits for what is sent
	s.dial(RoleFault)
	return s.stop()
}

// pullPromise sends leaves in place of pages while the guest still runs, so that
// few are left for the stop.
func (s *Source) pullPromise(c *Conn) {
	g, o := &s.pager, &s.out
	if g.at == 0 {
		o.owed = newBitmap(s.pages)
	}
	var b [PageSize]byte
	for !o.list.full() {
		p, ok := g.dirty.next(g.at)
		if !ok {
			if o.list.n > 0 {
				c.put(frPromise, 0, o.list.payload())
			}
			c.say(frPassEnd, &passMark{Pass: s.number})
			s.ph = phPassed
			return
		}
		g.pass.Read(p, &b)
		leaf := snapshot.LeafOf(&b)
		g.pass.Sent(p, leaf)
		o.list.add(p, leaf[:])
		o.owed.set(p)
		g.at = p + 1
	}
	c.put(frPromise, 0, o.list.payload())
}

// promiseRest makes all that is still dirty missing, with its leaves.
func (s *Source) promiseRest() {
	o := &s.out
	dirty := bitmap(s.fin.final.Dirty())
	for p, ok := dirty.next(0); ok; p, ok = dirty.next(p + 1) {
		leaf := s.fin.final.Leaf(p)
		o.owed.set(p)
		if o.list.add(p, leaf[:]); o.list.full() {
			s.ctl.put(frPromise, 0, o.list.payload())
		}
	}
	if o.list.n > 0 {
		s.ctl.put(frPromise, 0, o.list.payload())
	}
}

// pullAbsent names the missing pages, then the state.
func (s *Source) pullAbsent(c *Conn) {
	sayPages(c, frAbsent, s.out.owed)
	s.lastPage(c)
}

// sayPages queues page lists.
func sayPages(c *Conn, t frameType, pages bitmap) {
	var l list
	for p, ok := pages.next(0); ok; p, ok = pages.next(p + 1) {
		if l.add(p, nil); l.full() {
			c.put(t, 0, l.payload())
		}
	}
	if l.n > 0 {
		c.put(t, 0, l.payload())
	}
}

// pullPost returns the next missing pages, in order from the cursor and then from
// the first.
func (s *Source) pullPost(c *Conn) []byte {
	o, g := &s.out, &s.pager
	p, ok := o.owed.next(o.at)
	if !ok {
		p, ok = o.owed.next(0)
	}
	if !ok {
		return nil // and takes no buffer: those of the last ones may be on their way out
	}
	g.pass, g.number, g.have, g.plain = whole{s.fin.final}, s.number, nil, true
	g.b.reset(g.buffer(), s.number, min(s.link.chunk(), postChunk))
	before := g.table
	for ; ok && !g.b.full(); p, ok = o.owed.next(o.at) {
		o.at = p + 1
		o.owed.clear(p)
		g.page(p)
	}
	b := g.flush(c.seq)
	c.seq++
	s.count(g, &before)
	return b
}

// postChunk is small: what was written goes before what is asked for.
const postChunk = 64 << 10

// count adds what a pager's table grew by to the report.
func (s *Source) count(g *pager, before *KindTable) {
	for k := range before {
		t, b, r := &g.table[k], &before[k], &s.report.Kinds[k]
		r.Pages, r.Raw, r.Wire = r.Pages+t.Pages-b.Pages, r.Raw+t.Raw-b.Raw, r.Wire+t.Wire-b.Wire
	}
}

// maxAsks bounds the pages asked for at a time. A guest waits for one.
const maxAsks = 1024

// asked notes a page that the guest waits for.
func (s *Source) asked(r *reqPage) error {
	o := &s.out
	if r.Page >= s.pages {
		return errorf(Protocol, "REQ_PAGE names page %d of %d", r.Page, s.pages)
	}
	if len(o.asks) >= maxAsks {
		return errorf(Protocol, "%d pages are asked for at a time", len(o.asks)+1)
	}
	s.report.Faults++
	o.asks = append(o.asks, r.Page)
	return nil
}

// asksAt is when a page asked for may go: bandwidth that is bounded is so for it too, but it
// goes before what nobody waits for.
func (s *Source) asksAt() time.Duration {
	if s.link.cap == 0 {
		return 0
	}
	return s.link.free - seconds(postChunk/s.link.cap)
}

// pullAsked returns the next page asked for, and has the rest go on from there.
func (s *Source) pullAsked(c *Conn) []byte {
	o, g := &s.out, &s.out.urgent
	if s.ph != phPost || c == s.ctl && s.flt != nil && s.flt.peer || c != s.ctl && c != s.flt {
		return nil
	}
	for len(o.asks) > 0 && s.host.Now() >= s.asksAt() {
		p := o.asks[0]
		o.asks = o.asks[1:]
		if c == s.ctl && !o.owed.has(p) {
			continue // it is on its way there
		}
		o.owed.clear(p)
		o.at = p + 1
		g.pass, g.number, g.plain, g.codec = whole{s.fin.final}, s.number, true, s.pager.codec
		g.b.reset(g.buffer(), s.number, 0)
		before := g.table
		g.page(p)
		b := bytes.Clone(g.flush(c.seq)) // both connections take from these buffers
		c.seq++
		if c == s.flt {
			o.apart = append(o.apart, p)
		}
		s.count(g, &before)
		return b
	}
	return nil
}

// lostFault owes again what may have been lost with the fault connection.
func (s *Source) lostFault() {
	o := &s.out
	s.flt, o.faultAt = nil, s.host.Now()+redialMin
	for _, p := range o.apart {
		o.owed.set(p)
	}
	o.apart = nil
}

// missing hears what the destination lacks after a cut.
func (s *Source) missing(f *frame) error {
	n := uint32(0)
	err := eachListed(f.payload, 0, s.pages, func(p uint32, _ []byte) {
		s.out.owed.set(p)
		n++
	})
	if err != nil || n == 0 || n > s.wait {
		return &Error{Code: Protocol, Text: "frame MISSING", Err: err}
	}
	s.wait -= n
	s.missed()
	return nil
}

// missed goes on once the destination has said all it lacks.
func (s *Source) missed() {
	if s.wait != 0 {
		return
	}
	s.emit(Event{What: EventResumed, Total: uint64(s.out.owed.count())})
	s.enter(StagePostCopy)
	s.ph = phPost
}

// strand is the error of post-copy that ended with pages not delivered.
func (s *Source) strand(err error) error {
	return &Lost{Count: s.out.owed.count(), Err: err}
}
