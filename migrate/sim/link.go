package sim

import (
	"bytes"
	"container/heap"
	"errors"
	"time"

	"godwit/migrate"
)

// Link is the network between the two hosts.
type Link struct {
	Bandwidth float64       // bytes a second, each way; 0: 1e9
	RTT       time.Duration // there and back
	Loss      float64       // share of pieces that have to be sent again
	DropAt    time.Duration // from then on the bandwidth is DropTo; 0: never
	DropTo    float64
	Outages   []Outage // nothing gets through, no connection is lost
}

// Outage is a time without a network.
type Outage struct{ At, For time.Duration }

const (
	sendBuffer = 128 << 10 // bytes that a host holds for a connection
	segment    = 1448      // bytes of a packet
	resend     = 200 * time.Millisecond
)

// world is virtual time and what is due in it.
type world struct {
	now       time.Duration
	due       dueHeap
	seq       uint64
	link      Link
	rng       uint64
	lanes     [2]time.Duration // by direction, when the link is free
	nodes     [2]*node
	steps     int  // messages delivered
	scribbled bool // an engine wrote over bytes on their way out
	damaged   int  // times that bytes were not what a Reader accepts
	noFault   bool // the fault connection cannot be made
	onMsg     func()
	corrupt   func(fromSource bool, b []byte) []byte
}

type due struct {
	at  time.Duration
	seq uint64
	do  func()
}

type dueHeap []due

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].seq < h[j].seq
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = due{}
	*h = old[:len(old)-1]
	return x
}

func (w *world) at(t time.Duration, do func()) {
	w.seq++
	heap.Push(&w.due, due{max(t, w.now), w.seq, do})
}

// step does what is due next; false: nothing is, before the horizon.
func (w *world) step(horizon time.Duration) bool {
	if len(w.due) == 0 || w.due[0].at > horizon {
		return false
	}
	d := heap.Pop(&w.due).(due)
	w.now = d.at
	d.do()
	return true
}

func (w *world) random(n uint64) uint64 {
	w.rng = mix(w.rng)
	return w.rng % max(n, 1)
}

// transit is when a piece that a host hands over now has been sent, and when it
// arrives.
func (w *world) transit(dir int, from time.Duration, n int) (sent, arrives time.Duration) {
	t := max(from, w.lanes[dir])
	for _, o := range w.link.Outages {
		if t >= o.At && t < o.At+o.For {
			t = o.At + o.For
		}
	}
	b := w.link.Bandwidth
	if w.link.DropAt > 0 && t >= w.link.DropAt {
		b = w.link.DropTo
	}
	t += time.Duration(float64(n) / b * 1e9)
	w.lanes[dir] = t
	arrives = t + w.link.RTT/2
	for i := 0; w.link.Loss > 0 && i < (n+segment-1)/segment; i++ {
		if float64(w.random(1<<32))/(1<<32) < w.link.Loss {
			// Sent again once a later acknowledgement shows the gap.
			arrives = max(arrives, t+w.link.RTT/2+w.link.RTT+resend/100)
		}
	}
	return t, arrives
}

// node is one host. It implements migrate.Host.
type node struct {
	w       *world
	side    int // 0 source, 1 destination; also the direction it sends in
	e       migrate.Engine
	busy    time.Duration // until then it is at work
	conns   []*pipe
	dead    bool
	wake    time.Duration // of the tick that is due
	polling bool
}

// pipe is one end of a connection.
type pipe struct {
	n    *node
	c    *migrate.Conn
	peer *pipe
	in   bytes.Buffer
	r    *migrate.Reader
	last time.Duration // arrival of the latest piece
	held int           // bytes in the send buffer
	lost bool
	shut bool // closed by this side
	out  [2]pulled
}

// pulled is what an engine gave to be sent, and must leave alone while it may be
// on its way out.
type pulled struct{ b, was []byte }

var errCut = errors.New("connection reset")

// Now is this host's clock.
func (n *node) Now() time.Duration { return max(n.w.now, n.busy) }

// Idle spends time at work.
func (n *node) Idle(d time.Duration) { n.busy = n.Now() + d }

// do runs something on the host when it has time, then lets the engine go on.
func (n *node) do(f func()) {
	if n.dead {
		return
	}
	if n.w.now < n.busy {
		n.w.at(n.busy, func() { n.do(f) })
		return
	}
	f()
	n.settle()
}

// settle lets the engine look around and say what it has to say.
func (n *node) settle() {
	if n.e == nil || n.dead {
		return
	}
	n.e.Tick()
	for _, p := range append([]*pipe(nil), n.conns...) {
		n.pump(p)
	}
	at := n.e.Wake()
	if at >= 0 {
		at = max(at, n.w.now)
		if n.wake <= n.w.now || at < n.wake {
			n.wake = at
			n.w.at(at, func() {
				if n.wake == at {
					n.wake = 0
				}
				n.do(func() {})
			})
		}
	}
}

// pump fills the send buffer.
func (n *node) pump(p *pipe) {
	for !p.lost && p.held < sendBuffer {
		p.intact()
		b := n.e.Pull(p.c)
		if b == nil {
			return
		}
		n.send(p, b)
	}
}

// intact makes sure that the last two pieces are as they were pulled.
func (p *pipe) intact() {
	for _, o := range p.out {
		if !bytes.Equal(o.b, o.was) {
			p.n.w.scribbled = true
		}
	}
}

func (n *node) send(p *pipe, b []byte) {
	was := bytes.Clone(b)
	p.out[0], p.out[1] = p.out[1], pulled{b, was}
	b = was
	if n.w.corrupt != nil {
		b = n.w.corrupt(n.side == 0, bytes.Clone(b))
	}
	began := n.Now()
	sent, arrives := n.w.transit(n.side, began, len(b))
	p.last = max(p.last, arrives)
	p.held += len(b)
	n.w.at(sent, func() {
		n.do(func() {
			if p.held -= len(b); !p.lost {
				n.e.Wrote(p.c, len(b), sent-began)
			}
		})
	})
	n.w.at(p.last, func() { p.peer.arrive(b) })
}

// arrive takes bytes: message after message, each a step of its own.
func (p *pipe) arrive(b []byte) {
	if p.lost || p.n.dead {
		return
	}
	p.in.Write(b)
	p.next()
}

func (p *pipe) next() {
	if p.lost || p.n.dead || p.in.Len() == 0 {
		return
	}
	p.n.do(func() {
		if p.lost || p.in.Len() == 0 {
			return
		}
		m, _, err := p.r.Read(nil)
		if err != nil {
			p.n.w.damaged++
			p.drop(err)
			return
		}
		p.n.w.steps++
		p.n.e.Received(p.c, m)
		p.n.w.at(p.n.w.now, p.next)
	})
	if f := p.n.w.onMsg; f != nil {
		f()
	}
}

// drop ends this end for a reason that the engine hears.
func (p *pipe) drop(err error) {
	if p.lost {
		return
	}
	p.lost = true
	p.n.remove(p)
	if !p.shut {
		p.n.e.Lost(p.c, err)
	}
}

func (n *node) remove(p *pipe) {
	for i := range n.conns {
		if n.conns[i] == p {
			n.conns = append(n.conns[:i], n.conns[i+1:]...)
			return
		}
	}
}

// Close ends a connection after its last words.
func (n *node) Close(c *migrate.Conn) {
	for _, p := range n.conns {
		if p.c == c {
			n.lastWords(p)
			return
		}
	}
}

func (n *node) lastWords(p *pipe) {
	p.shut = true
	for b := n.e.Pull(p.c); b != nil; b = n.e.Pull(p.c) {
		n.send(p, b)
	}
	p.lost = true
	n.remove(p)
	at := max(p.last, n.Now()+n.w.link.RTT/2)
	n.w.at(at+1, func() { p.peer.end(errors.New("connection closed")) })
}

// end hears that the other end is gone.
func (p *pipe) end(err error) {
	if p.in.Len() > 0 && !p.lost { // what came before counts
		p.n.w.at(max(p.n.w.now, p.n.busy)+1, func() { p.end(err) })
		return
	}
	p.n.do(func() { p.drop(err) })
}

// Dial connects to the destination.
func (n *node) Dial(r migrate.Role) {
	w, to := n.w, n.w.nodes[1]
	_, arrives := w.transit(0, n.Now(), 60)
	w.at(arrives, func() {
		if to.dead || to.e == nil || w.noFault && r == migrate.RoleFault {
			w.at(w.now+w.link.RTT/2, func() {
				n.do(func() { n.e.DialFailed(r, errors.New("connection refused")) })
			})
			return
		}
		a := &pipe{n: n, c: &migrate.Conn{Role: r}}
		b := &pipe{n: to, c: &migrate.Conn{}, peer: a}
		a.peer = b
		a.r, b.r = migrate.NewReader(&a.in, true), migrate.NewReader(&b.in, false)
		to.conns = append(to.conns, b)
		to.do(func() { to.e.Opened(b.c) })
		_, back := w.transit(1, w.now, 60)
		b.last = back
		w.at(back, func() {
			if n.dead || b.lost {
				b.end(errCut)
				n.do(func() { n.e.DialFailed(r, errCut) })
				return
			}
			n.conns = append(n.conns, a)
			n.do(func() { n.e.Opened(a.c) })
		})
	})
}

// cut breaks every connection. Each side notices by itself, after a while.
func (w *world) cut(notice time.Duration) {
	for _, n := range w.nodes {
		for _, p := range append([]*pipe(nil), n.conns...) {
			p.in.Reset()
			p.peer.in.Reset()
			w.breaks(p, time.Duration(w.random(uint64(notice)+1)))
		}
	}
}

// cutFault breaks the fault connection, now and whenever it is made.
func (w *world) cutFault() {
	w.noFault = true
	for _, p := range append([]*pipe(nil), w.nodes[0].conns...) {
		if p.c.Role == migrate.RoleFault {
			p.in.Reset()
			p.peer.in.Reset()
			w.breaks(p, 0)
			w.breaks(p.peer, 0)
		}
	}
}

// breaks stops what is under way and tells this end later.
func (w *world) breaks(p *pipe, after time.Duration) {
	p.n.remove(p)
	p.lost = true // hears and says nothing more
	w.at(w.now+after, func() {
		p.n.do(func() {
			if !p.shut {
				p.n.e.Lost(p.c, errCut)
			}
		})
	})
}

// crash kills a host.
func (w *world) crash(side int, notice time.Duration) {
	n := w.nodes[side]
	n.dead = true
	for _, p := range append([]*pipe(nil), n.conns...) {
		p.lost = true
		q := p.peer
		w.at(w.now+time.Duration(w.random(uint64(notice)+1)), func() { q.end(errCut) })
	}
	n.conns = nil
}
