package stopped

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// grace is how long a side that gives up tries to tell its peer why.
const grace = time.Second

// flushAt is how many bytes of frames are gathered before they are written.
const flushAt = 1 << 16

// link is one connection: frames out, frames in, and a way to interrupt both.
type link struct {
	rw       io.ReadWriter
	br       *bufio.Reader
	in       frameReader
	received atomic.Uint64

	out  []byte // frames not written yet
	seq  uint64
	sent uint64
	torn bool // a write failed part way: nothing more can be said
}

func newLink(rw io.ReadWriter) *link {
	l := &link{rw: rw}
	l.br = bufio.NewReaderSize(countingReader{rw, &l.received}, 1<<16)
	l.in.r = l.br
	return l
}

type countingReader struct {
	r io.Reader
	n *atomic.Uint64
}

func (c countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(uint64(n))
	return n, err
}

// deadliner is what net.Conn has. Without it only the end of the connection
// interrupts a read or a write.
type deadliner interface {
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

var longAgo = time.Unix(1, 0)

func (l *link) canInterrupt() bool {
	_, ok := l.rw.(deadliner)
	return ok
}

func (l *link) readBy(t time.Time) {
	if d, ok := l.rw.(deadliner); ok {
		d.SetReadDeadline(t) // fails on a closed connection only, and then so will the read
	}
}

func (l *link) writeBy(t time.Time) {
	if d, ok := l.rw.(deadliner); ok {
		d.SetWriteDeadline(t)
	}
}

// watch interrupts the link when ctx ends, until the returned function is called.
func (l *link) watch(ctx context.Context) (unwatch func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		l.readBy(longAgo)
		l.writeBy(longAgo)
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// queue appends a frame to what will be written. It is written when enough has
// gathered, or by flush.
func (l *link) queue(t frameType, payload []byte) error {
	l.out = appendFrame(l.out, &frame{typ: t, seq: l.seq, payload: payload})
	l.seq++
	if len(l.out) >= flushAt {
		return l.flush()
	}
	return nil
}

// say queues a message and writes all that waits.
func (l *link) say(t frameType, message any) error {
	if err := l.queue(t, mustEncode(message)); err != nil {
		return err
	}
	return l.flush()
}

func (l *link) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	n, err := l.rw.Write(l.out)
	l.sent += uint64(n)
	l.out = l.out[:0]
	if err != nil {
		l.torn = true
		return &Error{Code: Disconnected, Text: "write to the connection", Err: err}
	}
	return nil
}

// abort tells the peer why this side gives up, if it can still be told and does
// not know already.
func (l *link) abort(err error) {
	if l.torn || fromPeer(err) {
		return
	}
	l.out = l.out[:0]
	l.writeBy(time.Now().Add(grace))
	_ = l.say(frAbort, reasonOf(err)) // there is nobody else to tell
}

// drain reads what still comes until the peer hangs up, so that closing the
// connection does not reset it and lose our ABORT on its way.
func (l *link) drain() {
	if l.canInterrupt() {
		l.readBy(time.Now().Add(grace))
		_, _ = io.Copy(io.Discard, l.br)
	}
}

// explain turns the error of an interrupted call into the cancellation it was.
func explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || fromPeer(err) {
		return err
	}
	return &Error{Code: Cancelled, Text: "cancelled", Err: context.Cause(ctx)}
}

// inbox receives in the background, so that a side that is busy sending hears a
// REFUSE or ABORT at once, even while its write is stuck.
type inbox struct {
	l    *link
	ch   chan received // closed after the last
	quit chan struct{}
}

type received struct {
	frame
	err error
}

func (l *link) listen() *inbox {
	b := &inbox{l: l, ch: make(chan received, 1), quit: make(chan struct{})}
	go b.loop()
	return b
}

func (b *inbox) loop() {
	defer close(b.ch)
	for {
		f, err := b.l.in.read()
		f.payload = bytes.Clone(f.payload)
		over := err != nil || f.typ == frAbort || f.typ == frRefuse
		if over {
			b.l.writeBy(longAgo)
		}
		select {
		case b.ch <- received{f, err}:
		case <-b.quit:
			return
		}
		if over || f.typ == frAck {
			return
		}
	}
}

// close ends the loop. Where reads cannot be interrupted it ends with the
// connection.
func (b *inbox) close() {
	close(b.quit)
	if b.l.canInterrupt() {
		b.l.readBy(longAgo)
		for range b.ch {
		}
	}
}

// poll fails if anything came while nothing should.
func (b *inbox) poll() error {
	select {
	case r := <-b.ch:
		return b.unexpected(r, 0)
	default:
		return nil
	}
}

// await waits for one frame of that type and decodes it.
func (b *inbox) await(t frameType, message any) error {
	r, ok := <-b.ch
	if !ok {
		return errorf(Protocol, "nothing can follow; %s was due", t)
	}
	if r.err != nil || r.typ != t {
		return b.unexpected(r, t)
	}
	if err := decode(r.payload, message); err != nil {
		return &Error{Code: Protocol, Text: "frame " + t.String(), Err: err}
	}
	return nil
}

func (b *inbox) unexpected(r received, due frameType) error {
	switch {
	case r.err != nil:
		return r.err
	case r.typ == frAbort || r.typ == frRefuse:
		return reported(r.frame)
	case due == 0:
		return errorf(Protocol, "frame #%d (%s) came where none was due", r.seq, r.typ)
	}
	return errorf(Protocol, "frame #%d is %s where %s was due", r.seq, r.typ, due)
}

// verdict finds out why a write failed: the peer's own words if it sent any.
func (b *inbox) verdict(werr error) error {
	if !b.l.canInterrupt() {
		return werr
	}
	b.l.readBy(time.Now().Add(grace))
	for r := range b.ch {
		if r.err == nil && (r.typ == frAbort || r.typ == frRefuse) {
			return reported(r.frame)
		}
		if r.err != nil && errors.Is(werr, os.ErrDeadlineExceeded) {
			return r.err // it interrupted the write
		}
	}
	return werr
}
