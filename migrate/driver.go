package migrate

import (
	"bufio"
	"context"
	"net"
	"time"
)

// Send moves a guest to whoever answers dial, as the options say. It returns nil
// once the guest runs there and nothing of it is needed here any more. On any
// error but *InDoubt and *Lost the guest runs on here as if nothing had been.
// Cancelling ctx stops it as Source.Cancel does.
func Send(ctx context.Context, dial func(context.Context) (net.Conn, error), g Guest, o Options) (Report, error) {
	d := newDriver(ctx)
	defer d.close()
	d.dial, d.atSource, d.asked = dial, true, o.Steer
	s, err := NewSource(g, o, d)
	if err != nil {
		return Report{}, err
	}
	d.steer = s.Steer
	d.run(ctx, s, nil, nil)
	r, err, _ := s.Done()
	return r, err
}

// Receive takes a guest from whoever connects. It returns once the guest runs
// here and the source knows, or needs no answer any more; StageActivate in an
// event tells when it starts. Closing conns says that nobody else will connect.
// On any error but *Lost the guest never ran here.
func Receive(ctx context.Context, conns <-chan net.Conn, b Builder, o Options) (Report, error) {
	d := newDriver(ctx)
	defer d.close()
	e, err := NewDest(b, o, d)
	if err != nil {
		return Report{}, err
	}
	d.run(ctx, e, conns, e)
	r, err, _ := e.Done()
	return r, err
}

// driver runs an engine over real connections. Each has a goroutine that reads
// and one that writes; the engine runs on the caller's.
type driver struct {
	start    time.Time
	ctx      context.Context // ends with the run
	stop     context.CancelFunc
	dial     func(context.Context) (net.Conn, error)
	atSource bool
	asked    <-chan Steer // and what does it, at the source
	steer    func(Steer)
	events   chan event
	wires    map[*Conn]*wire
}

// event is something that a goroutine tells the engine.
type event struct {
	w    *wire
	role Role
	conn net.Conn // dialled
	err  error
	m    *Message
	buf  []byte
	n    int // bytes written
	took time.Duration
}

// wire is one connection. depth pulled pieces may be on their way out.
type wire struct {
	c      *Conn
	conn   net.Conn
	out    chan []byte
	bufs   chan []byte // for reading
	queued int
	gone   bool // the engine no longer cares
}

const (
	wireDepth = 2
	readDepth = 4
	flushTime = 2 * time.Second // how long the last words may take
)

func newDriver(ctx context.Context) *driver {
	d := &driver{start: time.Now(), events: make(chan event, 2*readDepth), wires: map[*Conn]*wire{}}
	d.ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	return d
}

// Now is the time since the run began.
func (d *driver) Now() time.Duration { return time.Since(d.start) }

// Dial connects in the background.
func (d *driver) Dial(r Role) {
	go func() {
		ctx, cancel := context.WithTimeout(d.ctx, 10*time.Second)
		defer cancel()
		conn, err := d.dial(ctx)
		if !d.tell(event{role: r, conn: conn, err: err}) && conn != nil {
			conn.Close()
		}
	}()
}

// Close ends a connection after its last words.
func (d *driver) Close(c *Conn) {
	if w := d.wires[c]; w != nil {
		d.lastWords(w)
		w.gone = true
		delete(d.wires, c)
	}
}

// lastWords hands what is queued to the writer, and the end.
func (d *driver) lastWords(w *wire) {
	if w.gone {
		return
	}
	last := w.c.queue
	w.c.queue = nil
	w.conn.SetDeadline(time.Now().Add(flushTime))
	go func() {
		if len(last) > 0 {
			w.out <- last
		}
		close(w.out)
	}()
}

func (d *driver) tell(e event) bool {
	select {
	case d.events <- e:
		return true
	case <-d.ctx.Done():
		return false
	}
}

func (d *driver) add(conn net.Conn, r Role) *Conn {
	w := &wire{c: &Conn{Role: r}, conn: conn, out: make(chan []byte, wireDepth), bufs: make(chan []byte, readDepth)}
	for range readDepth {
		w.bufs <- nil
	}
	d.wires[w.c] = w
	go d.read(w)
	go d.write(w)
	return w.c
}

func (d *driver) read(w *wire) {
	r := NewReader(bufio.NewReaderSize(w.conn, 64<<10), d.atSource)
	for {
		var buf []byte
		select {
		case buf = <-w.bufs:
		case <-d.ctx.Done():
			return
		}
		m, buf, err := r.Read(buf)
		if !d.tell(event{w: w, m: m, buf: buf, err: err}) || err != nil {
			return
		}
	}
}

func (d *driver) write(w *wire) {
	defer w.hangUp()
	var failed error
	for b := range w.out {
		if failed != nil {
			continue
		}
		began := time.Now()
		_, failed = w.conn.Write(b)
		e := event{w: w, n: len(b), took: time.Since(began)}
		if failed != nil {
			e = event{w: w, err: &Error{Code: Disconnected, Text: "write to the connection", Err: failed}}
		}
		d.tell(e)
	}
}

// hangUp says that nothing more follows. The rest is up to the reader: to close
// with words unread would take ours back on their way.
func (w *wire) hangUp() {
	if c, ok := w.conn.(interface{ CloseWrite() error }); !ok || c.CloseWrite() != nil {
		w.conn.Close()
	}
}

// run drives the engine to its end.
func (d *driver) run(ctx context.Context, e Engine, conns <-chan net.Conn, dest *Dest) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	cancelled := ctx.Done()
	for {
		e.Tick()
		d.pull(e)
		if _, _, over := e.Done(); over {
			return
		}
		if at := e.Wake(); at >= 0 {
			timer.Reset(max(at-d.Now(), 0))
		} else {
			timer.Stop()
		}
		var wants <-chan struct{}
		if dest != nil && dest.mem != nil {
			wants = dest.mem.Wants()
		}
		select {
		case ev := <-d.events:
			d.handle(e, ev)
		case conn, ok := <-conns:
			if ok {
				e.Opened(d.add(conn, RoleControl))
			} else {
				conns = nil
				dest.NoMore()
			}
		case <-cancelled:
			cancelled = nil
			e.Cancel(context.Cause(ctx))
		case w := <-d.asked:
			d.steer(w)
		case <-timer.C:
		case <-wants:
		}
	}
}

// pull fills the writers.
func (d *driver) pull(e Engine) {
	for c, w := range d.wires {
		for w.queued < wireDepth {
			b := e.Pull(c)
			if b == nil {
				break
			}
			w.queued++
			w.out <- b
		}
	}
}

func (d *driver) handle(e Engine, ev event) {
	w := ev.w
	switch {
	case w == nil && ev.err != nil:
		e.DialFailed(ev.role, ev.err)
	case w == nil:
		e.Opened(d.add(ev.conn, ev.role))
	case w.gone && ev.m != nil:
		w.bufs <- ev.buf
	case w.gone && ev.err != nil:
		w.conn.Close()
	case w.gone:
	case ev.err != nil:
		d.Close(w.c)
		e.Lost(w.c, ev.err)
	case ev.m != nil:
		e.Received(w.c, ev.m)
		w.bufs <- ev.buf
	default:
		w.queued--
		e.Wrote(w.c, ev.n, ev.took)
	}
}

// close says the last words on every connection and waits, not long, for them to
// be written and for the other side to hang up, so that closing does not reset
// the connection and lose them on their way.
func (d *driver) close() {
	for _, w := range d.wires {
		d.lastWords(w)
	}
	deadline := time.NewTimer(flushTime)
	defer deadline.Stop()
	for len(d.wires) > 0 {
		select {
		case ev := <-d.events:
			if ev.conn != nil {
				ev.conn.Close()
			}
			if ev.w != nil && ev.err != nil {
				ev.w.conn.Close()
				delete(d.wires, ev.w.c)
			} else if ev.m != nil {
				ev.w.bufs <- ev.buf
			}
		case <-deadline.C:
			for c, w := range d.wires {
				w.conn.Close()
				delete(d.wires, c)
			}
		}
	}
	d.stop()
}
