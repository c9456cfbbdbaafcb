package stopped

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"godwit/snapshot"
)

// Dest builds a machine from what arrives. The calls come in this order, each
// once. If Receive fails the caller throws the machine away.
type Dest interface {
	// Prepare builds the machine that the configuration describes and returns
	// its memory, all zero. An error, best an *Error, refuses it.
	Prepare(config []snapshot.Section) (snapshot.Sink, error)
	// Finish takes the state sections and returns the state hash of what the
	// machine now holds, computed from that alone.
	Finish(state []snapshot.Section) ([snapshot.DigestSize]byte, error)
	// Activate starts the guest. On an error the guest has not run and never
	// will: the source is told so and goes on.
	Activate() error
}

// Leafer is implemented by a Dest that can say where memory differs.
type Leafer interface {
	Leaf(p uint32) [snapshot.LeafSize]byte
}

// Receive takes a machine from the Send at the other end of conn.
//
// With a nil error the guest runs here, even if the source could not be told
// (Stats.AckLost). With any other error it does not and must not.
func Receive(ctx context.Context, conn io.ReadWriter, dst Dest, o Options) (Stats, error) {
	o.fill()
	r := &receiver{link: newLink(conn), dst: dst, o: o}
	unwatch := r.link.watch(ctx)
	err := r.run(ctx)
	unwatch()
	if err = explain(ctx, err); err == nil {
		err = r.takeOver()
	}
	if err != nil && r.met {
		r.link.abort(err)
		r.link.drain()
	}
	r.link.readBy(time.Time{})
	r.link.writeBy(time.Time{})
	r.count()
	return r.st, err
}

type receiver struct {
	link *link
	dst  Dest
	o    Options
	st   Stats
	met  bool // the prefaces are exchanged
	sink snapshot.Sink
	next uint64 // lowest page that may still come

	batch    batch
	unpacker snapshot.Unpacker
	devState sectionCount
	commit   commit
}

func (r *receiver) run(ctx context.Context) error {
	for _, phase := range []struct {
		took *time.Duration
		do   func() error
	}{
		{&r.st.Connect, r.connect},
		{&r.st.Prepare, r.prepare},
		{&r.st.Memory, func() error { return r.memory(ctx) }},
		{&r.st.State, r.state},
		{&r.st.Handed, r.awaitCommit},
	} {
		start := r.o.Now()
		if err := phase.do(); err != nil {
			return err
		}
		*phase.took = r.o.Now() - start
	}
	return nil
}

func (r *receiver) count() {
	r.st.Sent, r.st.Received = r.link.sent, r.link.received.Load()
}

func (r *receiver) connect() error {
	peer, err := readPreface(r.link.br, sideSource)
	if CodeOf(err) == NotGodwit {
		return err // nothing we say would be understood
	}
	// Our preface goes out even to a peer we do not get along with, so that
	// both sides know why.
	p := preface{
		major: Major, minor: Minor, side: sideDest, session: peer.session,
		caps: capabilities{Agent: r.o.Agent, Codecs: ourCodecs, Modes: ourModes},
	}
	r.link.out = append(r.link.out, p.encode()...)
	if werr := r.link.flush(); err == nil {
		err = werr
	}
	r.st.Session, r.st.Peer = peer.session, peer.caps.Agent
	r.met = err == nil || CodeOf(err) == Damaged
	return err
}

// recv returns the next frame if it has one of the types.
func (r *receiver) recv(types ...frameType) (frame, error) {
	f, err := r.link.in.read()
	if err != nil {
		return f, err
	}
	for _, t := range types {
		if f.typ == t {
			return f, nil
		}
	}
	if f.typ == frAbort {
		return f, reported(f)
	}
	return f, errorf(Protocol, "frame #%d is %s where %s was due", f.seq, f.typ, types[0])
}

// expect receives a message.
func (r *receiver) expect(t frameType, message any) error {
	f, err := r.recv(t)
	if err != nil {
		return err
	}
	return r.parse(f, message)
}

func (r *receiver) parse(f frame, message any) error {
	if err := decode(f.payload, message); err != nil {
		return &Error{Code: Protocol, Text: fmt.Sprintf("frame #%d (%s)", f.seq, f.typ), Err: err}
	}
	return nil
}

func (r *receiver) prepare() error {
	var h hello
	if err := r.expect(frHello, &h); err != nil {
		return err
	}
	if h.Mode != stopAndCopy {
		return errorf(Protocol, "strategy %d is unknown here, want %d", h.Mode, stopAndCopy)
	}
	r.st.Pages, r.st.Present = h.Pages, h.Present
	var n sectionCount
	if err := r.expect(frConfig, &n); err != nil {
		return err
	}
	config, err := r.sections(n, false)
	if err != nil {
		return err
	}
	if err := r.expect(frReserve, &empty{}); err != nil {
		return err
	}
	if r.sink, err = r.dst.Prepare(config); err != nil {
		return r.refuse(err)
	}
	return r.link.say(frStart, &empty{})
}

// refuse tells the source that this machine cannot be here.
func (r *receiver) refuse(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: Refused, Err: err}
	}
	if werr := r.link.say(frRefuse, reasonOf(e)); werr != nil {
		return errors.Join(e, werr)
	}
	r.met = false // no ABORT after that
	r.link.drain()
	return e
}

// sections receives the sections that CONFIG or DEVSTATE announced.
func (r *receiver) sections(n sectionCount, state bool) ([]snapshot.Section, error) {
	if n.Sections > snapshot.MaxSections || n.Bytes > snapshot.MaxSectionTotal {
		return nil, errorf(Protocol, "%d sections with %d bytes announced, at most %d with %d",
			n.Sections, n.Bytes, snapshot.MaxSections, snapshot.MaxSectionTotal)
	}
	var secs []snapshot.Section
	left := n.Bytes
	for range n.Sections {
		s, err := r.section(left)
		if err != nil {
			return nil, err
		}
		if s.State != state {
			return nil, errorf(Protocol, "section %s is announced in the wrong place", s.ID())
		}
		left -= uint64(len(s.Data))
		secs = append(secs, s)
	}
	if _, err := snapshot.Sorted(secs); err != nil { // doubles, bounds
		return nil, &Error{Code: Protocol, Err: err}
	}
	r.st.Sections += len(secs)
	r.st.Devices += n.Bytes
	return secs, nil
}

// section receives one section of at most left bytes. Memory grows with what
// arrives, not with what is announced.
func (r *receiver) section(left uint64) (s snapshot.Section, err error) {
	var h sectionHead
	if err := r.expect(frSection, &h); err != nil {
		return s, err
	}
	s = snapshot.Section{Name: h.Name, Instance: h.Instance, Version: h.Version, Required: h.Required || h.State, State: h.State}
	if err := s.Check(); err != nil {
		return s, &Error{Code: Protocol, Err: err}
	}
	if h.Size > left {
		return s, errorf(Protocol, "section %s holds %d bytes, %d were left", s.ID(), h.Size, left)
	}
	for uint64(len(s.Data)) < h.Size {
		f, err := r.recv(frData)
		if err != nil {
			return s, err
		}
		if n := uint64(len(f.payload)); n == 0 || n > h.Size-uint64(len(s.Data)) {
			return s, errorf(Protocol, "section %s: %d bytes after %d of %d", s.ID(), n, len(s.Data), h.Size)
		}
		s.Data = append(s.Data, f.payload...)
	}
	if sha256.Sum256(s.Data) != h.Sum {
		return s, errorf(Damaged, "section %s does not match its checksum", s.ID())
	}
	return s, nil
}

func headOf(s *snapshot.Section) sectionHead {
	return sectionHead{s.Name, s.Instance, s.Version, s.Required, s.State, uint64(len(s.Data)), sha256.Sum256(s.Data)}
}

// memory receives batches, up to DEVSTATE.
func (r *receiver) memory(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := r.recv(frPages, frDevState)
		if err != nil {
			return err
		}
		if f.typ == frDevState {
			return r.parse(f, &r.devState)
		}
		if err := r.pages(f); err != nil {
			return err
		}
		r.count()
		r.o.Progress(r.st)
	}
}

func (r *receiver) pages(f frame) error {
	err := r.batch.decode(f.payload, r.st.Pages, &r.unpacker)
	if err == nil && r.batch.pass != 0 {
		err = fmt.Errorf("pass %d, want 0", r.batch.pass)
	}
	if err != nil {
		return &Error{Code: Protocol, Text: fmt.Sprintf("frame #%d (%s)", f.seq, f.typ), Err: err}
	}
	content := uint64(0)
	err = r.batch.each(func(p uint32, b []byte) error {
		// Each page comes once, ascending: so a zero page needs no work, its
		// memory still being as Prepare made it.
		if uint64(p) < r.next {
			return errorf(Protocol, "frame #%d (%s) brings page %d after page %d", f.seq, f.typ, p, r.next-1)
		}
		r.next = uint64(p) + 1
		if b == nil {
			r.st.page(Zero)
			return nil
		}
		r.st.page(Raw)
		content += uint64(len(b))
		if err := r.sink.Restore(p, b); err != nil {
			return &Error{Code: Failed, Text: fmt.Sprintf("restore page %d", p), Err: err}
		}
		return nil
	})
	r.st.Kinds[Raw].Wire += packedLen(f.payload)
	return err
}

// packedLen is how many bytes of a checked PAGES payload are content.
func packedLen(payload []byte) uint64 { return uint64(le.Uint32(payload[12:])) }

// state receives the state sections and compares what both sides hold. READY
// goes out either way: it carries what the source needs to say what differs.
func (r *receiver) state() error {
	secs, err := r.sections(r.devState, true)
	if err != nil {
		return err
	}
	if r.st.Root, err = r.dst.Finish(secs); err != nil {
		return &Error{Code: Failed, Text: "the machine cannot take the state", Err: err}
	}
	var want root
	if err := r.expect(frRoot, &want); err != nil {
		return err
	}
	answer := ready{Root: r.st.Root}
	if want.Root == r.st.Root {
		return r.link.say(frReady, &answer)
	}
	if m, ok := r.dst.(Leafer); ok && uint64(snapshot.Groups(r.st.Pages))*snapshot.DigestSize < MaxPayload-256 {
		for g := range snapshot.Groups(r.st.Pages) {
			d := snapshot.Group(g, r.st.Pages, m.Leaf)
			answer.Groups = append(answer.Groups, d[:]...)
		}
	}
	err = r.link.say(frReady, &answer)
	r.met = false // READY says it all
	r.link.drain()
	return errors.Join(&Error{Code: RootsDiffer, Err: &RootMismatch{Source: want.Root, Dest: r.st.Root}}, err)
}

func (r *receiver) awaitCommit() error {
	if err := r.expect(frCommit, &r.commit); err != nil {
		return err
	}
	if r.commit.Root != r.st.Root {
		return errorf(Protocol, "COMMIT names machine %x, not %x", r.commit.Root, r.st.Root)
	}
	return nil
}

// takeOver starts the guest. The source has let go: from here nothing but the
// machine itself can stop this side, no cancellation and no lost connection.
func (r *receiver) takeOver() error {
	if err := r.dst.Activate(); err != nil {
		return &Error{Code: Failed, Text: "the machine does not start", Err: err}
	}
	r.link.writeBy(time.Now().Add(10 * grace))
	r.st.AckLost = r.link.say(frAck, &r.commit) != nil
	return nil
}
