package migrate

import (
	"time"

	"godwit/snapshot"
)

// Source and Dest are state machines without goroutines, clocks or sockets. What
// drives one, a driver over real connections or the simulator, tells it what
// happened and takes from it what to send. All calls come from one goroutine.

// Host is what an engine asks of its driver.
type Host interface {
	// Now is a clock that never goes back.
	Now() time.Duration
	// Dial makes a connection: Opened or DialFailed answers, later.
	Dial(role Role)
	// Close ends a connection once what was pulled is written. Nothing is heard of
	// it any more.
	Close(c *Conn)
}

// Engine is one side of a migration.
type Engine interface {
	// Opened says that a connection was made. The source's own connections have
	// the role that was dialled; of the others the preface tells it.
	Opened(c *Conn)
	// DialFailed says that a connection could not be made.
	DialFailed(role Role, err error)
	// Received hands over what a Reader has read. It is not kept.
	Received(c *Conn, m *Message)
	// Lost says that a connection ended. Nothing more is heard of it.
	Lost(c *Conn, err error)
	// Pull returns the next bytes for a connection, nil for none now. They stay as
	// they are, whatever is received meanwhile, until the second Pull of that
	// connection after that gives bytes.
	Pull(c *Conn) []byte
	// Wrote says that so many bytes were written, and how long that blocked.
	Wrote(c *Conn, n int, took time.Duration)
	// Tick looks at the clock. It is called when Wake says so and after anything
	// else that may have happened, such as Memory.Wants.
	Tick()
	// Wake is when Tick is due; negative for never.
	Wake() time.Duration
	// Cancel asks to stop. Idempotent; too late once the other side may run.
	Cancel(err error)
	// Done tells whether it is over.
	Done() (Report, error, bool)
}

// Times of both engines.
const (
	pingEvery  = 5 * time.Second  // at most so long nothing is said
	deafAfter  = 45 * time.Second // a connection on which nothing is heard so long is lost
	redialMin  = 50 * time.Millisecond
	redialMax  = 5 * time.Second
	askEvery   = time.Second     // in doubt
	answerFor  = 2 * time.Minute // whoever asks, once cancelled: a source that finds the connection dead only by deafAfter, too
	progressHz = 10
)

// Conn is an engine's end of a connection.
type Conn struct {
	Role Role
	Tag  any // the driver's

	seq    uint64 // of the next frame
	queue  []byte // said, not pulled yet
	peer   bool   // the other side's preface came
	heard  time.Duration
	said   time.Duration
	closed bool
}

// say queues a message.
func (c *Conn) say(t frameType, message any) { c.put(t, 0, mustEncode(message)) }

// put queues a frame.
func (c *Conn) put(t frameType, flags uint16, payload []byte) {
	c.queue = appendFrame(c.queue, &frame{typ: t, flags: flags, seq: c.seq, payload: payload})
	c.seq++
}

// side is what both engines have in common.
type side struct {
	host     Host
	o        Options
	sess     snapshot.UUID
	kind     uint8 // sideSource or sideDest
	start    time.Duration
	report   Report
	err      error
	over     bool
	stage    Stage
	progress time.Duration // of the last progress event
}

func (s *side) now() time.Duration { return s.host.Now() - s.start }

func (s *side) emit(e Event) {
	if s.o.Event != nil {
		e.T, e.Stage = s.now(), s.stage
		s.o.Event(e)
	}
}

func (s *side) enter(st Stage) {
	if s.stage != st {
		s.stage = st
		s.emit(Event{What: EventStage})
	}
}

// advance tells of pages moved, not too often.
func (s *side) advance(round uint32, done, total uint64) {
	if now := s.now(); now-s.progress >= time.Second/progressHz {
		s.progress = now
		s.emit(Event{What: EventProgress, Round: round, Done: done, Total: total})
	}
}

func (s *side) open(c *Conn) {
	now := s.host.Now()
	c.heard, c.said = now, now
	p := preface{major: Major, minor: Minor, side: s.kind, role: c.Role, session: s.sess, caps: capabilities{Agent: s.o.Agent, Codecs: ourCodecs}}
	c.queue = append(c.queue, p.encode()...)
}

// keep says something where nothing was said for long, and finds connections
// that are dead.
func (s *side) keep(c *Conn) (dead bool) {
	if c == nil || !c.peer {
		return c != nil && s.host.Now()-c.heard >= deafAfter
	}
	now := s.host.Now()
	if now-c.said >= pingEvery && len(c.queue) == 0 {
		c.put(frPing, flagOptional, nil)
		c.said = now
	}
	return now-c.heard >= deafAfter
}

// keepAt is when keep is due.
func (c *Conn) keepAt() time.Duration {
	if c.peer && len(c.queue) == 0 {
		return min(c.said+pingEvery, c.heard+deafAfter)
	}
	return c.heard + deafAfter
}

func (s *side) pullQueue(c *Conn) []byte {
	b := c.queue
	if len(b) == 0 {
		return nil
	}
	c.queue = nil
	c.said = s.host.Now()
	s.report.Sent += uint64(len(b))
	return b
}

// finish ends it. Only the first counts.
func (s *side) finish(err error) {
	if s.over {
		return
	}
	s.over, s.err = true, err
	s.report.Total = s.now()
	s.enter(StageDone)
	r := s.report
	s.emit(Event{What: EventReport, Report: &r})
}

func (s *side) Done() (Report, error, bool) { return s.report, s.err, s.over }

// sooner is the earlier of two times of which negative means never.
func sooner(a, b time.Duration) time.Duration {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}
