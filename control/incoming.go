package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"godwit/machine"
	"godwit/migrate"
	"godwit/migrate/secure"
)

// TokenVariable is the environment variable that a token may come by: arguments
// show in lists of processes.
const TokenVariable = "GODWIT_TOKEN"

// incoming is a port at which a machine arrives.
type incoming struct {
	p       *process
	op      *op
	l       net.Listener
	secured *secure.Listener // nil: not encrypted
	conns   chan net.Conn
	ended   chan struct{} // closed when nobody else is taken

	at   time.Time // the present attempt began
	peer string    // address
	what about
	m    *machine.Machine

	stores []*store // disks that are copied here
}

// incoming opens the port at which a machine will arrive.
func (p *process) incoming() (func(), error) {
	l, err := net.Listen("tcp", p.spec.Listen)
	if err != nil {
		return nil, taken(p.spec.Listen, err)
	}
	in := &incoming{p: p, l: l, conns: make(chan net.Conn), ended: make(chan struct{})}
	if !p.spec.Insecure {
		if err := in.secure(); err != nil {
			l.Close()
			return nil, err
		}
	}
	p.r.update(func(s *Status) { s.State, s.Listen = StateIncoming, l.Addr().String() })
	o, ctx := p.srv.ops.start("receive", "pages")
	in.op = o
	ctx, cancel := context.WithCancel(ctx)
	o.cancel = func() { // the port stays open for a source that is in doubt
		if ctx.Err() != nil {
			in.l.Close() // the second time
		}
		cancel()
	}
	p.srv.stop = func() { // by force: nobody is answered any more
		cancel()
		in.l.Close()
	}
	return func() {
		go in.accept()
		go in.receive(ctx)
	}, nil
}

// shut closes the port: nobody is waited for any more.
func (in *incoming) shut() {
	in.l.Close()
	close(in.ended)
}

// secure has peers prove that they know a token: that of the environment, or a
// new one.
func (in *incoming) secure() error {
	t := secure.New()
	if s := os.Getenv(TokenVariable); s != "" {
		var err error
		if t, err = secure.Parse(s); err != nil {
			return BadToken(err)
		}
		_ = os.Unsetenv(TokenVariable) // nobody else needs it
	}
	in.p.token = t.String()
	in.secured = t.Derive().Listen(in.l, secure.ListenOptions{Refused: func(a net.Addr, err error) { in.refused(a.String(), err) }})
	in.l = in.secured
	return nil
}

// refused tells of a peer that was turned away. The port stays open.
func (in *incoming) refused(from string, err error) {
	e := AsError("refused what came from "+from, err)
	fmt.Fprint(os.Stderr, e.Text())
	in.op.emit("refused", func(o *Op) { o.Error = e })
}

// accept passes connections on until the port closes.
func (in *incoming) accept() {
	defer close(in.conns)
	for {
		c, err := in.l.Accept()
		if err != nil {
			return
		}
		in.p.r.mu.Lock()
		in.peer = c.RemoteAddr().String()
		in.p.r.mu.Unlock()
		select {
		case in.conns <- c:
		case <-in.ended:
			c.Close()
			return
		}
	}
}

func taken(addr string, err error) error {
	what := "cannot listen on " + addr
	_, port, serr := net.SplitHostPort(addr)
	var bad *net.AddrError
	switch {
	case serr != nil:
		return Fail("usage", what, "an address is [HOST]:PORT", "godwit receive :4444")
	case errors.As(err, &bad):
		return Fail("usage", what, bad.Err+" "+bad.Addr, "godwit receive :4444")
	case errors.Is(err, syscall.EADDRINUSE) || strings.Contains(err.Error(), "Only one usage"):
		e := Fail("resource", what, "port "+port+" is taken by another program", "godwit receive :0")
		e.Field, e.Have = "port", port
		return e
	case errors.Is(err, os.ErrPermission):
		return Fail("resource", what, "port "+port+" needs privileges", "godwit receive :4444")
	}
	return Fail("resource", what, err.Error(), "godwit receive :4444")
}

// receive takes peers until one has brought a machine, and all of it.
func (in *incoming) receive(ctx context.Context) {
	for ctx.Err() == nil {
		in.stores = nil
		in.at, in.what, in.m = time.Time{}, about{}, nil
		b := in.builder()
		rep, err := migrate.Receive(ctx, in.conns, b, migrate.Options{
			Agent: "godwit " + Version, Event: in.event, Recover: 2 * migrate.DefaultRecover, // as long as a source tries, and some more
		})
		if in.m != nil { // it runs here
			in.arrived(&rep, err)
			return
		}
		if in.secured != nil {
			in.secured.Hold(false)
		}
		in.p.r.update(func(s *Status) { s.State, s.Move = StateIncoming, nil })
		if ctx.Err() == nil {
			in.refused(in.from(), err)
		}
	}
	in.abandon(ctx.Err())
}

func (in *incoming) from() string {
	in.p.r.mu.Lock()
	defer in.p.r.mu.Unlock()
	return in.peer
}

// event passes on what the engine tells.
func (in *incoming) event(e migrate.Event) {
	if in.at.IsZero() { // nobody is there yet
		return
	}
	if e.What == migrate.EventWarning && e.Stage == migrate.StageCheck { // who was left before anything was begun
		in.at = time.Time{}
		in.p.r.update(func(s *Status) { s.Move = nil })
		in.op.migrating(e)
		return
	}
	in.p.r.update(func(s *Status) {
		m := Move{VM: s.Name, At: in.at, Peer: in.peer, Op: in.op.id(), State: OpRunning}
		if s.Move != nil {
			m.Reason = s.Move.Reason
		}
		m.note(&e)
		s.Move = &m
	})
	in.op.migrating(e)
}

// arrived ends the receiving: of the machine, which runs, everything is here, or
// err says what is not.
func (in *incoming) arrived(rep *migrate.Report, err error) {
	in.shut()
	e := AsError("not all of the machine arrived", err)
	in.p.r.update(func(s *Status) {
		s.Move = nil
		if e != nil {
			s.Note = e.Error()
		}
	})
	var lost *migrate.Lost
	if errors.As(err, &lost) {
		fmt.Fprintln(os.Stderr, "godwit: pages that never came:"+runsOf(lost.Pages))
	}
	m := Move{VM: in.p.r.Status().Name, At: in.at, Peer: in.from(), State: OpDone, Mode: rep.Mode, Report: rep, Error: e}
	if e != nil {
		m.State, m.Report = OpFailed, nil
	}
	in.p.r.remember(&m)
	status := in.p.r.Status()
	in.op.finish(e, func(o *Op) { o.Error, o.Report, o.Status = nil, rep, &status })
	in.op.known() // whoever waits hears of it while the machine runs
}

// runsOf writes the pages of a bitmap as people read them: " 3 10-12".
func runsOf(pages []uint64) string {
	var b strings.Builder
	is := func(p int) bool { return p < 64*len(pages) && pages[p/64]>>(p%64)&1 != 0 }
	for p := 0; p < 64*len(pages); p++ {
		if !is(p) {
			continue
		}
		first := p
		for is(p + 1) {
			p++
		}
		if fmt.Fprintf(&b, " %d", first); p > first {
			fmt.Fprintf(&b, "-%d", p)
		}
	}
	return b.String()
}

// abandon ends a VM that never came.
func (in *incoming) abandon(err error) {
	in.shut()
	e := AsError("nothing was received", err)
	in.p.r.update(func(s *Status) {
		s.State, s.Listen, s.Move, s.End = StateOff, "", nil, &End{Reason: "nothing was received", Exit: e.Exit, Error: e}
	})
	in.op.finish(e, nil)
	in.op.known()              // whoever waits for it reads on, and nobody has to
	in.p.spec.Ephemeral = true // there was nothing
	in.p.r.con.close()
	close(in.p.srv.ended)
}

// began notes that a peer brings a machine.
func (in *incoming) began(what about) {
	in.what, in.at = what, time.Now()
	if in.secured != nil {
		in.secured.Hold(true) // it may have to connect again
	}
}

// start sets the machine going under its name.
func (in *incoming) start(m *machine.Machine) error {
	if err := in.p.wireLog(m); err != nil {
		return err
	}
	in.p.arrive(in.what)
	in.settled(m)
	in.m = m
	in.p.r.pace.slew = time.Duration(m.Lag())
	in.p.begin(m, in.p.spec.Paused || in.what.Paused)
	status := in.p.r.Status()
	in.op.emit("arrived", func(o *Op) { o.Status = &status })
	return nil
}
