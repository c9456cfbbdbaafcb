package migrate

import (
	"crypto/sha256"
	"fmt"
	"time"

	"godwit/snapshot"
)

// Dest is the engine at the destination.
type Dest struct {
	side
	b Builder

	conns    []*Conn
	ctl, flt *Conn
	lostAt   time.Duration // of the control connection; 0: it is up, or never was
	lastErr  error         // of a connection that came to nothing
	noMore   bool          // no further connection will come

	secs    sectionsIn
	inState bool
	config  []snapshot.Section
	pages   uint32
	mem     Memory
	gen     []uint32 // by page, the pass it came in; 0: never
	pass    uint32
	count   uint32 // pages in it
	final   bool   // it is sent by a guest that stands still
	in      pagesIn
	page    [PageSize]byte
	disks   disksIn
	images  imagesIn

	promised  [][LeafSize]byte
	absent    bitmap // announced, not yet told to memory
	hadAbsent bool
	missing   bitmap // post-copy
	left      int
	total     int // of them, at the handover
	bad       map[uint32]int

	root    [DigestSize]byte
	ready   bool // READY was said: the source may have sent COMMIT
	running bool
	dead    error // it will never run
	epoch   uint64
	leaveAt time.Duration // when nobody needs answers any more; 0: not set
	leaving bool          // it was cancelled, and only answers

	fault   uint32 // page asked for last
	faulted time.Duration
	waiting bool
}

// NewDest makes the engine that receives a guest.
func NewDest(b Builder, o Options, h Host) (*Dest, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	d := &Dest{side: side{host: h, o: o, kind: sideDest, start: h.Now()}, b: b, bad: map[uint32]int{}}
	d.enter(StageCheck)
	return d, nil
}

// Opened takes a connection that arrived.
func (d *Dest) Opened(c *Conn) {
	now := d.host.Now()
	c.heard, c.said = now, now
	d.conns = append(d.conns, c)
}

// DialFailed is never called: a destination does not dial.
func (d *Dest) DialFailed(Role, error) {}

// Wrote is of no interest.
func (d *Dest) Wrote(*Conn, int, time.Duration) {}

// NoMore says that no further connection will come.
func (d *Dest) NoMore() {
	d.noMore = true
	d.alone()
}

// alone ends it where nobody is left to wait for.
func (d *Dest) alone() {
	if !d.noMore || len(d.conns) > 0 || d.over {
		return
	}
	err := d.lastErr
	if err == nil {
		err = errorf(Disconnected, "nobody connected")
	}
	switch {
	case d.running && d.left == 0:
		d.finish(nil)
	case d.running:
		d.finish(d.strand(err))
	case d.dead != nil:
		d.finish(d.dead)
	default:
		d.die(err)
		d.finish(err)
	}
}

func (d *Dest) drop(c *Conn) {
	c.closed = true
	for i := range d.conns {
		if d.conns[i] == c {
			d.conns = append(d.conns[:i], d.conns[i+1:]...)
			break
		}
	}
	if c == d.flt {
		d.flt, d.waiting = nil, false // what was on its way may be lost
	}
}

// Lost hears that a connection is gone.
func (d *Dest) Lost(c *Conn, err error) {
	if c.closed || d.over {
		return
	}
	d.lastErr = err
	d.drop(c)
	if c == d.ctl {
		d.ctl = nil
		d.cut(err)
	}
	d.alone()
}

// hangUp gives a connection up from this side.
func (d *Dest) hangUp(c *Conn, err error) {
	d.host.Close(c)
	d.Lost(c, err)
}

// cut waits for the source to come back.
func (d *Dest) cut(err error) {
	d.lostAt = d.host.Now()
	switch {
	case d.dead != nil || d.running && d.left == 0:
		return
	case d.running || d.mem != nil:
		d.report.Cuts++
		d.emit(Event{What: EventCut, Reason: err.Error(), Total: uint64(d.left)})
		d.enter(StageRecovery)
	default: // nothing was begun
		d.emit(Event{What: EventWarning, Reason: err.Error()})
		d.reset()
	}
	if !d.running && d.o.Recover < 0 {
		d.die(err)
	}
}

// reset forgets a session that came to nothing.
func (d *Dest) reset() {
	d.sess, d.secs, d.config, d.lostAt = snapshot.UUID{}, sectionsIn{}, nil, 0
	d.enter(StageCheck)
}

// die gives the machine up: from here on it never runs.
func (d *Dest) die(err error) {
	if d.dead != nil || d.running {
		return
	}
	d.dead = err
	d.b.Abandon()
	d.mem = nil
	if d.ctl != nil && !fromPeer(err) {
		d.ctl.say(frAbort, reasonOf(err))
	}
	if !d.ready || fromPeer(err) {
		d.finish(err)
		return
	}
	d.linger() // the source may ask
}

// linger answers questions for a while.
func (d *Dest) linger() {
	if d.o.Linger > 0 {
		d.leaveAt = d.host.Now() + d.o.Linger
	}
}

// Cancel asks to stop. Once the guest runs here only waiting ends. A source that may
// be in doubt is answered for a while all the same; the second time it ends at once.
func (d *Dest) Cancel(err error) {
	cause := &Error{Code: Cancelled, Text: "cancelled", Err: err}
	switch {
	case d.over:
	case d.left > 0 && d.ctl == nil:
		d.finish(d.strand(cause))
	case d.left > 0:
		d.emit(Event{What: EventWarning, Reason: "too late to cancel: the guest runs here"})
	case d.leaving:
		d.finish(d.dead)
	default:
		d.die(cause) // unless it runs
		d.leave()
	}
}

// leave answers questions for a while yet, where there may be any.
func (d *Dest) leave() {
	if d.over {
		return
	}
	d.leaving = true
	if at := d.host.Now() + answerFor; d.leaveAt == 0 || at < d.leaveAt {
		d.leaveAt = at
	}
	d.emit(Event{What: EventWarning, Reason: fmt.Sprintf("waits at most %v for the source to know how it ended", answerFor)})
}

// strand is the error of post-copy that ended with pages missing.
func (d *Dest) strand(err error) error { return &Lost{Pages: d.missing, Count: d.left, Err: err} }

// Wake is when Tick is due.
func (d *Dest) Wake() time.Duration {
	if d.over {
		return -1
	}
	at := time.Duration(-1)
	for _, c := range d.conns {
		at = sooner(at, c.keepAt())
	}
	if d.leaveAt > 0 {
		at = sooner(at, d.leaveAt)
	}
	if d.lostAt > 0 && !d.running && d.dead == nil {
		at = sooner(at, d.lostAt+d.o.Recover)
	}
	return at
}

// Tick looks at the clock, and at what the guest waits for.
func (d *Dest) Tick() {
	if d.over {
		return
	}
	for _, c := range append([]*Conn(nil), d.conns...) {
		if d.keep(c) {
			d.hangUp(c, errorf(Disconnected, "nothing was heard of the source for %v", deafAfter))
		}
	}
	now := d.host.Now()
	switch {
	case d.over:
	case d.leaveAt > 0 && now >= d.leaveAt:
		d.finish(d.dead)
	case d.lostAt > 0 && !d.running && d.dead == nil && now >= d.lostAt+d.o.Recover:
		d.die(errorf(Disconnected, "the source did not come back within %v", d.o.Recover))
	case d.running && d.left > 0:
		d.pull()
	}
}

// Pull returns what to send next.
func (d *Dest) Pull(c *Conn) []byte {
	if c.closed {
		return nil
	}
	return d.pullQueue(c)
}

// Received takes a message.
func (d *Dest) Received(c *Conn, m *Message) {
	if c.closed || d.over {
		return
	}
	c.heard = d.host.Now()
	d.report.Received += uint64(m.n)
	if m.preface != nil {
		d.greeted(c, m)
		return
	}
	err := d.hear(c, &m.frame)
	if err == nil || d.over {
		return
	}
	if d.running || d.dead != nil || c != d.ctl || CodeOf(err) == Damaged {
		d.hangUp(c, err)
		return
	}
	if d.mem == nil && d.config == nil { // no machine was named yet
		c.say(frAbort, reasonOf(err))
		d.hangUp(c, err)
		return
	}
	d.die(err)
}

// greeted answers a preface and puts the connection to its use.
func (d *Dest) greeted(c *Conn, m *Message) {
	p := m.preface
	c.peer, c.Role = true, p.role
	known := d.sess != snapshot.UUID{} && p.session == d.sess
	saved := d.sess
	d.sess = p.session
	d.open(c)
	d.sess = saved
	switch {
	case m.err != nil:
		c.say(frAbort, reasonOf(m.err))
		d.hangUp(c, m.err)
	case p.role == RoleQuery:
		d.answer(c, known)
	case p.role == RoleFault && known && d.mem != nil:
		d.flt, d.waiting = c, false
		d.pull()
	case p.role == RoleControl && (known || d.sess == snapshot.UUID{}):
		d.adopt(c, p)
	default:
		err := errorf(Busy, "session %s is not the one that is received here", p.session)
		c.say(frAbort, reasonOf(err))
		d.hangUp(c, err)
	}
}

// adopt makes a connection the control connection.
func (d *Dest) adopt(c *Conn, p *preface) {
	if old := d.ctl; old != nil {
		d.ctl = nil
		d.hangUp(old, errorf(Disconnected, "the source connected anew"))
	}
	d.sess, d.ctl, d.lostAt = p.session, c, 0
	d.report.Session, d.report.Peer = p.session.String(), p.caps.Agent
	d.secs, d.inState, d.absent, d.ready = sectionsIn{}, false, nil, false
}

// answer tells a source in doubt. Whoever hears "never" may run the guest, so it
// never will here.
func (d *Dest) answer(c *Conn, known bool) {
	w := welcome{Have: haveNothing}
	switch {
	case !known:
	case d.running:
		w = welcome{Have: haveGuest, Epoch: d.epoch}
	default:
		if d.dead == nil {
			d.ready = true // stay and answer again
			d.die(errorf(Disconnected, "the source lost the connection before the guest was taken over"))
		}
		w.Have = haveNever
	}
	c.say(frAnswer, &w)
}

// hear handles a frame. What is not due breaks the protocol.
func (d *Dest) hear(c *Conn, f *frame) error {
	switch {
	case f.typ == frPing:
		return nil
	case f.typ == frDone:
		return d.done()
	case f.typ == frPages && c == d.flt && d.running:
		return d.fill(f)
	case c != d.ctl:
	case f.typ == frAbort:
		d.aborted(reported(f))
		return nil
	case f.typ == frHello:
		return with(f, d.hello)
	case d.running && f.typ == frPages:
		return d.fill(f)
	case d.running || d.dead != nil:
	case f.typ == frProbe:
		c.say(frProbed, &probed{uint32(len(f.payload))})
		return nil
	case f.typ == frConfig:
		d.inState = false
		d.secs.held = d.held
		return with(f, d.begin)
	case f.typ == frSection:
		return with(f, func(h *sectionHead) error { return d.gather(d.secs.section(h)) })
	case f.typ == frData:
		return d.gather(d.secs.more(f.payload))
	case f.typ == frReserve && d.config != nil:
		return d.reserve()
	case d.mem == nil:
	case f.typ == frPassBegin:
		return with(f, d.passBegin)
	case f.typ == frPages:
		return d.take(f)
	case f.typ == frBlocks:
		return d.blocks(f)
	case f.typ == frPassEnd:
		return with(f, d.passEnd)
	case f.typ == frPromise:
		return d.promise(f)
	case f.typ == frAbsent:
		return d.isAbsent(f)
	case f.typ == frDevState:
		d.inState, d.secs.held = true, nil
		return with(f, d.begin)
	case f.typ == frRoot && d.inState && d.secs.complete():
		return with(f, d.compare)
	case f.typ == frWantLeaves && d.ready:
		return with(f, d.leaves)
	case f.typ == frCommit && d.ready:
		return with(f, d.commit)
	}
	return errorf(Protocol, "frame #%d (%s) came where it was not due", f.seq, f.typ)
}

func (d *Dest) aborted(err error) {
	switch {
	case d.running:
		d.hangUp(d.ctl, err)
	case d.mem == nil && d.dead == nil:
		d.lastErr = err
		d.hangUp(d.ctl, err)
	default:
		d.die(err)
	}
}

// done hears that the source knows the end.
func (d *Dest) done() error {
	switch {
	case d.running && d.left == 0:
		d.finish(nil)
	case d.running:
		return errorf(Protocol, "the source says DONE with %d pages missing", d.left)
	case d.dead != nil:
		d.finish(d.dead)
	case d.mem == nil: // it only looked
		c := d.ctl
		d.ctl = nil
		d.drop(c)
		d.host.Close(c)
		d.reset()
	default:
		return errorf(Protocol, "the source says DONE in the middle")
	}
	return nil
}

func (d *Dest) hello(h *hello) error {
	w := welcome{Have: haveNothing}
	switch {
	case d.running:
		w = welcome{Have: haveGuest, Epoch: d.epoch, Missing: uint32(d.left)}
	case d.dead != nil:
		w.Have = haveNever
	case d.mem != nil:
		w.Have = haveMemory
	}
	if d.mem != nil && h.Pages != d.pages {
		return errorf(Protocol, "the machine now has %d pages, before it had %d", h.Pages, d.pages)
	}
	d.pages = h.Pages
	d.ctl.say(frWelcome, &w)
	if d.running {
		sayPages(d.ctl, frMissing, d.missing)
		if d.waiting = false; d.left == 0 {
			d.ctl.say(frEnd, &empty{}) // it was lost
			return nil
		}
		d.enter(StagePostCopy)
		d.pull()
	}
	return nil
}

func (d *Dest) begin(n *sectionCount) error {
	if err := d.secs.begin(n); err != nil {
		return err
	}
	return d.gather(nil)
}

// gather goes on once all sections are here.
func (d *Dest) gather(err error) error {
	if err != nil {
		return &Error{Code: Protocol, Text: "sections", Err: err}
	}
	if sums := d.secs.fetch(); sums != nil {
		d.ctl.say(frFetch, &fetch{sums})
	}
	if !d.secs.complete() || d.inState {
		return nil
	}
	config := d.secs.secs
	if config == nil {
		config = []snapshot.Section{}
	}
	if d.mem != nil {
		if !equalSections(config, d.config) {
			return errorf(Protocol, "the machine's configuration is not what it was before the connection was lost")
		}
		d.ctl.say(frVerdict, &verdict{Copies: d.copies(config), Images: d.images.mask})
		return nil
	}
	for i := range config {
		if config[i].State {
			return errorf(Protocol, "section %s is state, not configuration", config[i].ID())
		}
	}
	ms := d.b.Check(config)
	d.images.begin(d.b)
	d.ctl.say(frVerdict, &verdict{cleaned(ms), d.copies(config), d.images.mask})
	if len(ms) != 0 {
		return d.refuse(ms)
	}
	d.config = config
	return nil
}

// held returns data of the configuration that is here already: from before the
// connection was lost, or as the host has it.
func (d *Dest) held(sum [DigestSize]byte, size uint64) []byte {
	for i := range d.config {
		if b := d.config[i].Data; uint64(len(b)) == size && sha256.Sum256(b) == sum {
			return b
		}
	}
	return d.b.Held(sum, size)
}

// copies is how many disks it will take.
func (d *Dest) copies(config []snapshot.Section) uint32 {
	if b, ok := d.b.(DiskBuilder); ok {
		return uint32(b.Copies(config))
	}
	return 0
}

func (d *Dest) refuse(ms []Mismatch) error {
	d.dead = &Error{Code: Refused, Text: "this host cannot be that machine", Mismatches: ms}
	d.finish(d.dead)
	return nil
}

// equalSections compares what makes a machine; 'about' may change meanwhile.
func equalSections(a, b []snapshot.Section) bool {
	required := func(s []snapshot.Section) (out string) {
		for i := range s {
			if s[i].Required {
				out += fmt.Sprintf("%s %d %x ", s[i].ID(), s[i].Version, sha256.Sum256(s[i].Data))
			}
		}
		return out
	}
	return required(a) == required(b)
}

// reserve builds the machine, or says what is held of it.
func (d *Dest) reserve() error {
	d.enter(StageReserve)
	if d.mem == nil {
		m, err := d.b.Reserve(d.config)
		if err != nil {
			return asError(Resources, "the machine cannot be built", err)
		}
		if m.Pages() != d.pages {
			d.b.Abandon()
			return errorf(Protocol, "the configuration makes %d pages of memory, HELLO says %d", m.Pages(), d.pages)
		}
		d.mem, d.gen = m, make([]uint32, d.pages)
		d.report.Pages = d.pages
		d.disks.begin(d.b)
		d.images.refused = newBitmap(d.pages)
	}
	held := uint32(0)
	for _, g := range d.gen {
		if g != 0 {
			held++
		}
	}
	d.ctl.say(frStart, &start{Held: held})
	var l list
	for p, g := range d.gen {
		if g == 0 {
			continue
		}
		d.mem.Read(uint32(p), &d.page)
		sum := sha256.Sum256(d.page[:])
		if l.add(uint32(p), sum[:]); l.full() {
			d.ctl.put(frHave, 0, l.payload())
		}
	}
	if l.n > 0 {
		d.ctl.put(frHave, 0, l.payload())
	}
	if d.hadAbsent {
		d.hadAbsent = false
		d.mem.Absent(newBitmap(d.pages), func(uint32) [LeafSize]byte { return zeroLeaf })
	}
	return nil
}
