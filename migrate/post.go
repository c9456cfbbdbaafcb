package migrate

import (
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

// pullPost returns the next missing pages, in order from the cursor.
func (s *Source) pullPost(c *Conn) []byte {
	o, g := &s.out, &s.pager
	g.pass, g.number, g.have, g.plain = whole{s.fin.final}, s.number, nil, true
	g.b.reset(g.buffer(), s.number, min(s.link.chunk(), postChunk))
	for !g.b.full() {
		p, ok := o.owed.next(o.at)
		if !ok && o.at > 0 {
			o.at = 0
			break // pages of a batch ascend
		}
		if !ok {
			break
		}
		o.at = p + 1
		o.owed.clear(p)
		g.page(p)
	}
	before := g.table
	b := g.flush(c.seq)
	if b == nil {
		if o.at == 0 && o.owed.count() > 0 {
			return s.pullPost(c)
		}
		return nil
	}
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

// asked sends a page that the guest waits for, and goes on from there.
func (s *Source) asked(r *reqPage) error {
	if r.Page >= s.pages {
		return errorf(Protocol, "REQ_PAGE names page %d of %d", r.Page, s.pages)
	}
	s.report.Faults++
	c, o := s.flt, &s.out
	if c == nil || !c.peer {
		if c = s.ctl; !o.owed.has(r.Page) {
			return nil // it is on its way there
		}
	}
	o.owed.clear(r.Page)
	o.at = r.Page + 1
	g := &o.urgent
	g.pass, g.number, g.plain, g.codec = whole{s.fin.final}, s.number, true, s.pager.codec
	g.b.reset(g.buffer(), s.number, 0)
	before := g.table
	g.page(r.Page)
	c.queue = append(c.queue, g.flush(c.seq)...)
	c.seq++
	s.count(g, &before)
	return nil
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
