package stopped

import (
	"context"
	"io"
	"time"

	"godwit/snapshot"
)

// Source is a machine that stands still and can be sent. It is only read.
type Source interface {
	snapshot.Pages
	snapshot.Hashed
	Sections() []snapshot.Section // all; those that are not State describe the machine
	Root() [snapshot.DigestSize]byte
}

// Send moves a machine to the Receive at the other end of conn.
//
// With a nil error the destination runs the guest, and the source must never run
// again. With *InDoubt nobody knows, and the source must stay stopped. With any
// other error the destination does not run it and never will: the source may go
// on. After an error conn is of no further use.
//
// ctx interrupts reads and writes if conn has deadlines, as a net.Conn does.
func Send(ctx context.Context, conn io.ReadWriter, src Source, o Options) (Stats, error) {
	o.fill()
	s := &sender{link: newLink(conn), src: src, o: o}
	s.st.Session = o.Session
	unwatch := s.link.watch(ctx)
	err := s.run(ctx)
	unwatch()
	err = s.conclude(ctx, err)
	if s.inbox != nil {
		s.inbox.close()
	}
	s.link.readBy(time.Time{})
	s.link.writeBy(time.Time{})
	s.count()
	return s.st, err
}

type sender struct {
	link      *link
	inbox     *inbox // nil until the prefaces are exchanged
	src       Source
	o         Options
	st        Stats
	packer    *snapshot.Packer
	batch     batch
	payload   []byte
	committed bool // COMMIT may have left
}

func (s *sender) run(ctx context.Context) error {
	secs, err := snapshot.Sorted(s.src.Sections())
	if err != nil {
		return &Error{Code: Failed, Err: err}
	}
	config, state := split(secs)
	for _, phase := range []struct {
		took *time.Duration
		do   func() error
	}{
		{&s.st.Connect, s.connect},
		{&s.st.Prepare, func() error { return s.prepare(config) }},
		{&s.st.Memory, func() error { return s.memory(ctx) }},
		{&s.st.State, func() error { return s.state(state) }},
		{&s.st.Handed, s.handover},
	} {
		start := s.o.Now()
		if err := phase.do(); err != nil {
			return err
		}
		*phase.took = s.o.Now() - start
	}
	return nil
}

// conclude decides what an error means for who owns the guest, and tells the
// peer where that cannot hurt.
func (s *sender) conclude(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if s.inbox != nil && s.link.torn && ctx.Err() == nil && !fromPeer(err) {
		err = s.inbox.verdict(err)
	}
	err = explain(ctx, err)
	if s.committed && !fromPeer(err) {
		return &InDoubt{err}
	}
	s.link.abort(err)
	return err
}

func (s *sender) count() {
	s.st.Sent, s.st.Received = s.link.sent, s.link.received.Load()
}

func split(secs []snapshot.Section) (config, state []snapshot.Section) {
	for _, sec := range secs {
		if sec.State {
			state = append(state, sec)
		} else {
			config = append(config, sec)
		}
	}
	return config, state
}

func (s *sender) connect() error {
	p := preface{
		major: Major, minor: Minor, side: sideSource, session: s.o.Session,
		caps: capabilities{Agent: s.o.Agent, Codecs: ourCodecs, Modes: ourModes},
	}
	s.link.out = append(s.link.out, p.encode()...)
	if err := s.link.flush(); err != nil {
		return err
	}
	peer, err := readPreface(s.link.br, sideDest)
	if err != nil {
		s.link.torn = true // a peer that does not talk our language gets no frames
		return err
	}
	s.inbox = s.link.listen()
	// A peer that could not read our preface answers no session, and then ABORT.
	if peer.session != s.o.Session && peer.session != (snapshot.UUID{}) {
		return errorf(Protocol, "the other side answers session %s, not %s", peer.session, s.o.Session)
	}
	if peer.caps.Modes&(1<<stopAndCopy) == 0 {
		return errorf(Protocol, "the other side (%s) cannot receive a stopped machine", peer.caps.Agent)
	}
	s.st.Peer = peer.caps.Agent
	codec := s.o.Codec
	if codec <= snapshot.Zstd && peer.caps.Codecs&(1<<codec) == 0 {
		codec = snapshot.None
	}
	if s.packer, err = snapshot.NewPacker(codec); err != nil {
		return &Error{Code: Failed, Err: err}
	}
	return nil
}

func (s *sender) prepare(config []snapshot.Section) error {
	s.st.Pages = s.src.Pages()
	for p := range s.st.Pages {
		if s.src.Present(p) {
			s.st.Present++
		}
	}
	h := hello{Mode: stopAndCopy, Pages: s.st.Pages, Present: s.st.Present}
	if err := s.link.queue(frHello, mustEncode(&h)); err != nil {
		return err
	}
	if err := s.sections(frConfig, config); err != nil {
		return err
	}
	if err := s.link.say(frReserve, &empty{}); err != nil {
		return err
	}
	return s.inbox.await(frStart, &empty{})
}

// dataFrame is how many bytes of a section go into one DATA frame.
const dataFrame = 1 << 18

func (s *sender) sections(t frameType, secs []snapshot.Section) error {
	n := sectionCount{Sections: uint32(len(secs))}
	for i := range secs {
		n.Bytes += uint64(len(secs[i].Data))
	}
	if err := s.link.queue(t, mustEncode(&n)); err != nil {
		return err
	}
	for i := range secs {
		if err := s.section(&secs[i]); err != nil {
			return err
		}
	}
	s.st.Sections += len(secs)
	s.st.Devices += n.Bytes
	return nil
}

func (s *sender) section(sec *snapshot.Section) error {
	h := headOf(sec)
	if err := s.link.queue(frSection, mustEncode(&h)); err != nil {
		return err
	}
	for data := sec.Data; len(data) > 0; {
		n := min(len(data), dataFrame)
		if err := s.link.queue(frData, data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (s *sender) memory(ctx context.Context) error {
	var page [snapshot.PageSize]byte
	for p := range s.st.Pages {
		if !s.src.Present(p) {
			continue
		}
		s.src.Read(p, &page)
		leaf := snapshot.LeafOf(&page)
		if have := s.src.Leaf(p); have != leaf {
			return errorf(Failed, "page %d: its hash is recorded as %x but its content makes %x", p, have, leaf)
		}
		if page == zeroPage {
			s.batch.add(p, nil)
			s.st.page(Zero)
		} else {
			s.batch.add(p, page[:])
			s.st.page(Raw)
		}
		if s.batch.full() {
			if err := s.flushBatch(ctx); err != nil {
				return err
			}
		}
	}
	return s.flushBatch(ctx)
}

var zeroPage [snapshot.PageSize]byte

func (s *sender) flushBatch(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.inbox.poll(); err != nil {
		return err
	}
	if len(s.batch.kinds) == 0 {
		return nil
	}
	var packed int
	s.payload, packed = s.batch.appendTo(s.payload[:0], s.packer)
	s.batch.reset()
	s.st.Kinds[Raw].Wire += uint64(packed)
	if err := s.link.queue(frPages, s.payload); err != nil {
		return err
	}
	s.count()
	s.o.Progress(s.st)
	return nil
}

// state sends what is not memory, and compares what both sides hold.
func (s *sender) state(secs []snapshot.Section) error {
	if err := s.sections(frDevState, secs); err != nil {
		return err
	}
	s.st.Root = s.src.Root()
	if err := s.link.say(frRoot, &root{s.st.Root}); err != nil {
		return err
	}
	var r ready
	if err := s.inbox.await(frReady, &r); err != nil {
		return err
	}
	if r.Root == s.st.Root {
		return nil
	}
	m := &RootMismatch{Source: s.st.Root, Dest: r.Root}
	m.Compared = len(r.Groups) == int(snapshot.Groups(s.st.Pages))*snapshot.DigestSize && len(r.Groups) > 0
	for g := uint32(0); m.Compared && g < snapshot.Groups(s.st.Pages); g++ {
		d := snapshot.Group(g, s.st.Pages, s.src.Leaf)
		if string(d[:]) != string(r.Groups[g*snapshot.DigestSize:(g+1)*snapshot.DigestSize]) {
			m.Groups = append(m.Groups, g)
		}
	}
	return &Error{Code: RootsDiffer, Err: m}
}

// handover gives the guest away. Once COMMIT may have left, only the peer's word
// tells who has it.
func (s *sender) handover() error {
	s.committed = true
	if err := s.link.say(frCommit, &commit{Root: s.st.Root}); err != nil {
		return err
	}
	var ack commit
	if err := s.inbox.await(frAck, &ack); err != nil {
		return err
	}
	if ack.Root != s.st.Root {
		return errorf(Protocol, "ACK names machine %x, not %x", ack.Root, s.st.Root)
	}
	return nil
}
