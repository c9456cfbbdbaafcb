package migrate

import (
	"fmt"
	"time"

	"godwit/snapshot"
)

// phase is what a source is doing.
type phase uint8

const (
	phDial    phase = iota // no control connection yet, or a lost one being made again
	phHello                // HELLO and CONFIG said; VERDICT is due
	phProbe                // measuring the connection, watching the guest
	phReserve              // START is due, HAVE after it
	phPass                 // sending a pass, or promises
	phPassed               // PASSED is due
	phFinal                // the guest stands still; sending the rest
	phReady                // READY is due
	phLeaves               // LEAVES are due: what differs?
	phCommit               // COMMIT is said; ACK is due
	phDoubt                // nobody said ACK; asking
	phMissing              // post-copy, connected again: MISSING is due
	phPost                 // post-copy
	phEnd
)

// Source is the engine at the source.
type Source struct {
	side
	g     Guest
	pages uint32
	ph    phase

	config []snapshot.Section // what the destination may still ask for of it

	ctl, flt, qry *Conn
	dialling      [RoleQuery + 1]bool
	retryAt       time.Duration
	retryWait     time.Duration
	cutAt         time.Duration
	talked        bool // the destination answered once
	cancelled     bool

	mode     Mode  // chosen
	settled  bool  // it is, and the destination was asked for room
	budgeted bool  // the guest is held to a budget
	wish     Steer // before a strategy was chosen
	budget   int   // pages; < 0: no bound yet
	blocked  int   // passes in a row that MaxSlowdown kept from shrinking

	look   survey
	link   linkStats
	wait   uint32 // pages or lists the destination still owes
	have   map[uint32][sumSize]byte
	number uint32 // of the pass, over all connections
	pager  pager
	in     interval
	stall  stallWatch
	cost   costs

	out   post
	fin   finale
	disks disksOut

	images imagesOut
}

// finale is the guest standing still.
type finale struct {
	final     Final
	stop      time.Duration // when it was told to
	stopped   time.Duration
	sent      time.Duration // last page
	said      time.Duration // ROOT
	ready     time.Duration
	committed time.Duration
	deadline  time.Duration
	late      int // times the deadline passed
	repairs   int
	groups    map[uint32]bool // whose leaves are due
	again     bitmap          // pages to be sent again
	differ    []uint32
	dest      [DigestSize]byte
}

// NewSource makes the engine that sends a guest.
func NewSource(g Guest, o Options, h Host) (*Source, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s := &Source{side: side{host: h, o: o, sess: o.Session, kind: sideSource, start: h.Now()}, g: g, pages: g.Pages(), budget: -1}
	s.pager.disks, s.pager.images = &s.disks, &s.images
	s.report.Session, s.report.Mode, s.report.Pages = o.Session.String(), o.Mode, s.pages
	s.report.Unfenced = o.Fence == nil
	s.mode = o.Mode
	s.link.cap = o.Bandwidth
	s.enter(StageCheck)
	s.dial(RoleControl)
	return s, nil
}

func (s *Source) dial(r Role) {
	if !s.dialling[r] {
		s.dialling[r] = true
		s.host.Dial(r)
	}
}

// Opened takes a connection that was dialled.
func (s *Source) Opened(c *Conn) {
	s.dialling[c.Role] = false
	if s.over {
		s.host.Close(c)
		return
	}
	s.open(c)
	switch c.Role {
	case RoleFault:
		s.flt = c
	case RoleQuery:
		s.qry = c
	case RoleControl:
		s.ctl = c
		c.say(frHello, &hello{Pages: s.pages})
		if s.out.running {
			s.ph = phMissing
			return
		}
		s.ph = phHello
		secs, err := s.g.Config()
		s.disks.prepare(s.g)
		if err == nil {
			s.config = secs
			_, err = c.saySections(frConfig, secs)
		}
		if err != nil {
			s.fail(&Error{Code: Failed, Text: "the machine's configuration", Err: err})
		}
	}
}

// DialFailed hears that there is no connection.
func (s *Source) DialFailed(r Role, err error) {
	s.dialling[r] = false
	now := s.host.Now()
	err = &Error{Code: Disconnected, Text: "connect to the destination", Err: err}
	switch {
	case s.over:
	case r == RoleFault:
		s.out.faultAt = now + redialMax
	case r == RoleQuery:
		s.unanswered(err)
	case s.out.running && s.cancelled:
		s.finish(s.strand(err))
	case s.out.running:
		s.redialLater()
	case !s.talked || now >= s.cutAt+s.o.Recover:
		s.fail(err)
	default:
		s.redialLater()
	}
}

func (s *Source) redialLater() {
	s.retryWait = min(max(2*s.retryWait, redialMin), redialMax)
	s.retryAt = s.host.Now() + s.retryWait
}

// Lost hears that a connection is gone.
func (s *Source) Lost(c *Conn, err error) {
	if c.closed || s.over {
		return
	}
	c.closed = true
	switch c {
	case s.flt:
		s.lostFault()
	case s.qry:
		s.qry = nil
		s.unanswered(err)
	case s.ctl:
		s.ctl = nil
		s.cut(c, err)
	}
}

// hangUp gives a connection up from this side.
func (s *Source) hangUp(c *Conn, err error) {
	s.host.Close(c)
	s.Lost(c, err)
}

// cut goes on after the loss of the control connection. One on which nobody
// answered is no better than none.
func (s *Source) cut(c *Conn, err error) {
	now := s.host.Now()
	if c.peer {
		s.report.Cuts++
		s.emit(Event{What: EventCut, Reason: err.Error()})
		s.cutAt, s.retryWait = now, 0
	}
	switch {
	case !s.talked, !c.peer && !s.out.running && now >= s.cutAt+s.o.Recover:
		s.fail(err)
		return
	case s.ph == phCommit:
		s.doubt(err)
		return
	case s.out.running:
		if s.out.asks = nil; s.cancelled { // they are asked for again
			s.finish(s.strand(err))
			return
		}
	case s.report.Cuts > maxCuts || s.o.Recover < 0:
		s.fail(err)
		return
	default:
		// The guest goes on here while the connection is made again. What the
		// destination holds then is found by content.
		s.g.Resume()
		s.disks.cut()
		s.fin.final, s.budget = nil, -1
		s.out.on = false
	}
	s.enter(StageRecovery)
	s.ph = phDial
	s.redialLater()
}

// maxCuts bounds how often a migration starts over before the guest is handed
// over.
const maxCuts = 100

// fail ends it while the guest is ours.
func (s *Source) fail(err error) {
	if s.over {
		return
	}
	s.g.Resume()
	s.disks.forget()
	if s.ctl != nil {
		if fromPeer(err) {
			s.ctl.say(frDone, &empty{})
		} else {
			s.ctl.say(frAbort, reasonOf(err))
		}
	}
	s.end(err)
}

// end closes what is open, after what is queued.
func (s *Source) end(err error) {
	s.ph = phEnd
	s.finish(err)
}

// Cancel asks to stop. Before COMMIT the guest stays; after it only waiting ends.
func (s *Source) Cancel(err error) {
	again := s.cancelled
	s.cancelled = true
	cause := &Error{Code: Cancelled, Text: "cancelled", Err: err}
	switch {
	case s.over:
	case s.ph == phDoubt:
		s.end(&InDoubt{s.sess, s.o.Epoch + 1, cause})
	case s.out.running && s.ctl == nil:
		s.end(s.strand(cause))
	case s.ph < phCommit && !s.out.running:
		s.fail(cause)
	case !again:
		s.emit(Event{What: EventWarning, Reason: "too late to cancel: the destination owns the guest"})
	}
}

// Wrote measures the connection.
func (s *Source) Wrote(c *Conn, n int, took time.Duration) {
	if c == s.ctl && n >= 16<<10 && took > 0 {
		s.link.wrote(n, took)
		if s.pager.codec != nil {
			s.pager.codec.speed = s.link.codecSpeed()
		}
	}
}

// Wake is when Tick is due.
func (s *Source) Wake() time.Duration {
	if s.over {
		return -1
	}
	at := time.Duration(-1)
	for _, c := range []*Conn{s.ctl, s.flt, s.qry} {
		if c != nil {
			at = sooner(at, c.keepAt())
		}
	}
	if s.o.Timeout > 0 && s.ph < phFinal {
		at = sooner(at, s.start+s.o.Timeout)
	}
	switch s.ph {
	case phDial:
		if !s.dialling[RoleControl] {
			at = sooner(at, s.retryAt)
		}
	case phDoubt:
		if !s.dialling[RoleQuery] && s.qry == nil {
			at = sooner(at, s.retryAt)
		}
	case phProbe:
		at = sooner(at, s.look.wake(s))
	case phFinal, phReady, phLeaves:
		at = sooner(at, s.fin.deadline)
	case phPost:
		if s.flt == nil && !s.dialling[RoleFault] {
			at = sooner(at, s.out.faultAt)
		}
		if due := s.asksAt(); len(s.out.asks) > 0 && due > s.host.Now() {
			at = sooner(at, due)
		}
	}
	if s.link.free > s.host.Now() && (s.ph == phPass || s.ph == phFinal || s.ph == phPost) {
		at = sooner(at, s.link.free)
	}
	return at
}

// Tick looks at the clock.
func (s *Source) Tick() {
	now := s.host.Now()
	for _, c := range []*Conn{s.ctl, s.flt, s.qry} {
		if s.keep(c) {
			s.hangUp(c, errorf(Disconnected, "nothing was heard of the destination for %v", deafAfter))
		}
	}
	switch {
	case s.over:
	case s.o.Timeout > 0 && s.ph < phFinal && !s.out.running && now >= s.start+s.o.Timeout:
		s.fail(errorf(TimedOut, "the migration took longer than %v", s.o.Timeout))
	case s.ph == phDial && now >= s.retryAt:
		s.dial(RoleControl)
	case s.ph == phDoubt && now >= s.retryAt && s.qry == nil:
		s.dial(RoleQuery)
	case s.ph == phProbe:
		s.look.step(s)
	case s.ph >= phFinal && s.ph <= phLeaves && now >= s.fin.deadline:
		s.late()
	case s.ph == phPost && s.flt == nil && now >= s.out.faultAt:
		s.dial(RoleFault)
	}
}

// late gives a stop up that takes far longer than was predicted: the guest runs
// on here, and it is tried again.
func (s *Source) late() {
	s.fin.late++
	s.hangUp(s.ctl, errorf(TimedOut, "the stop took longer than %v, predicted was %v", s.fin.deadline-s.fin.stop, s.report.Predicted))
}

// Pull returns what to send next.
func (s *Source) Pull(c *Conn) []byte {
	if c.closed {
		return nil
	}
	if b := s.pullQueue(c); b != nil {
		if c == s.ctl {
			s.link.spend(s.host.Now(), len(b))
		}
		return b
	}
	if b := s.pullAsked(c); b != nil {
		return s.sends(c, b)
	}
	if c != s.ctl || !c.peer || s.host.Now() < s.link.free {
		return nil
	}
	var b []byte
	switch s.ph {
	case phPass, phFinal:
		b = s.pullPass(c)
	case phPost:
		b = s.pullPost(c)
	}
	if b == nil {
		return s.pullQueue(c)
	}
	return s.sends(c, b)
}

// sends accounts for bytes that are about to go.
func (s *Source) sends(c *Conn, b []byte) []byte {
	now := s.host.Now()
	c.said = now
	s.report.Sent += uint64(len(b))
	s.link.spend(now, len(b))
	return b
}

// Received takes a message.
func (s *Source) Received(c *Conn, m *Message) {
	if c.closed || s.over {
		return
	}
	c.heard = s.host.Now()
	s.report.Received += uint64(m.n)
	var err error
	if m.preface != nil {
		err = s.greeted(c, m)
	} else {
		err = s.heard(c, &m.frame)
	}
	if err == nil || s.over {
		return
	}
	if s.ph == phCommit || s.ph == phDoubt || s.out.running || c != s.ctl {
		s.hangUp(c, err)
		return
	}
	s.fail(err)
}

func (s *Source) greeted(c *Conn, m *Message) error {
	switch {
	case m.err != nil:
		return m.err
	case m.preface.session != s.sess:
		return errorf(Protocol, "the destination answers for session %s, not %s", m.preface.session, s.sess)
	}
	c.peer, s.talked = true, true
	if c == s.ctl && s.pager.codec == nil {
		s.report.Peer = m.preface.caps.Agent
		var err error
		if s.pager.codec, err = newChooser(s.o.Codec, m.preface.caps.Codecs, s.host.Now); err == nil {
			s.pager.codec.worked = s.o.Packed
		}
		return err
	}
	return nil
}

// heard handles a frame. What is not due breaks the protocol.
func (s *Source) heard(c *Conn, f *frame) error {
	switch {
	case f.typ == frPing:
		return nil
	case f.typ == frAbort && c == s.ctl:
		s.aborted(reported(f))
		return nil
	case c == s.qry && f.typ == frAnswer:
		return with(f, s.answered)
	case f.typ == frReqPage && s.ph == phPost:
		return with(f, s.asked)
	case c != s.ctl:
	case f.typ == frWelcome && (s.ph == phHello || s.ph == phMissing):
		return with(f, s.welcomed)
	case f.typ == frFetch && s.ph == phHello:
		return with(f, s.fetched)
	case f.typ == frVerdict && s.ph == phHello:
		return with(f, s.judged)
	case f.typ == frProbed && s.ph == phProbe:
		return with(f, s.probed)
	case f.typ == frStart && s.ph == phReserve:
		return with(f, s.started)
	case f.typ == frHave && s.ph == phReserve:
		return s.holds(f)
	case f.typ == frPassed && s.ph == phPassed:
		return with(f, s.passed)
	case f.typ == frRefused && (s.ph == phPassed || s.ph == phReady):
		return s.refusedPages(f)
	case f.typ == frReady && s.ph == phReady:
		return with(f, s.isReady)
	case f.typ == frLeaves && s.ph == phLeaves:
		return with(f, s.compare)
	case f.typ == frAck && s.ph == phCommit:
		return with(f, s.acked)
	case f.typ == frMissing && s.ph == phMissing:
		return s.missing(f)
	case f.typ == frEnd && s.ph == phPost:
		c.say(frDone, &empty{})
		s.end(nil)
		return nil
	}
	return errorf(Protocol, "frame #%d (%s) came where it was not due", f.seq, f.typ)
}

// with decodes a frame's message and hands it on.
func with[T any](f *frame, do func(*T) error) error {
	var m T
	if err := decode(f.payload, &m); err != nil {
		return &Error{Code: Protocol, Text: "frame " + f.typ.String(), Err: err}
	}
	return do(&m)
}

// aborted hears that the destination gave up and does not run the guest.
func (s *Source) aborted(err error) {
	switch {
	case s.ph == phCommit:
		s.takeBack(err)
	case s.out.running:
		s.hangUp(s.ctl, err)
	default:
		s.fail(err)
	}
}

func (s *Source) welcomed(w *welcome) error {
	switch {
	case s.out.running && w.Have == haveGuest:
		s.out.owed, s.wait = newBitmap(s.pages), w.Missing
		s.missed()
		return nil
	case s.out.running:
		s.end(s.strand(errorf(Failed, "the destination no longer has the guest")))
		return nil
	case w.Have == haveGuest || w.Have == haveNever:
		return errorf(Busy, "the destination has ended session %s", s.sess)
	case w.Have == haveNothing:
		s.disks.forget()
	}
	return nil
}

func (s *Source) judged(v *verdict) error {
	if len(v.Mismatches) != 0 {
		return &Error{Code: Refused, Peer: true, Text: "the destination cannot be this machine", Mismatches: cleaned(v.Mismatches)}
	}
	if n := len(s.disks.all); n != int(v.Copies) {
		return &Error{Code: Refused, Text: fmt.Sprintf("%d disks are to be copied, the destination takes %d", n, v.Copies), Err: errNoCopies}
	}
	s.images.prepare(s.g, v.Images, s.pages)
	s.ph = phProbe
	return s.look.begin(s)
}

// reserve asks for the machine to be built.
func (s *Source) reserve() {
	s.ph, s.have, s.wait = phReserve, nil, 0
	s.enter(StageReserve)
	s.ctl.say(frReserve, &empty{})
}

func (s *Source) started(m *start) error {
	if m.Held > s.pages {
		return errorf(Protocol, "the destination holds %d pages of %d", m.Held, s.pages)
	}
	s.wait, s.have = m.Held, make(map[uint32][sumSize]byte, m.Held)
	return s.held()
}

func (s *Source) holds(f *frame) error {
	n := uint32(0)
	err := eachListed(f.payload, sumSize, s.pages, func(p uint32, sum []byte) {
		s.have[p] = [sumSize]byte(sum)
		n++
	})
	if err != nil || n == 0 || n > s.wait {
		return &Error{Code: Protocol, Text: "frame HAVE", Err: err}
	}
	s.wait -= n
	return s.held()
}

// held goes on once the destination has said all it holds.
func (s *Source) held() error {
	if s.wait != 0 {
		return nil
	}
	if s.report.Cuts > 0 {
		s.emit(Event{What: EventResumed, Done: uint64(len(s.have))})
	}
	if s.mode == ModeStop || s.disks.copies() {
		s.g.Resume() // what was tracked to look at it is no part of this
	}
	if s.disks.copies() {
		if err := s.disks.track(s.host.Now()); err != nil {
			return err
		}
		if s.mode != ModeStop && s.disks.pending() > 0 {
			return s.startBulk()
		}
	}
	return s.startMemory()
}
