// Package migrate moves real guests: whole machines with the migration's real
// engine and driver between them, over loopback, in one process.
package migrate

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/machine"
	"godwit/migrate"
)

var full = os.Getenv("GODWIT_FULL") != ""

// vm runs a machine on a goroutine and is its host. It serves requests between
// two instructions, and stands still from a count on if told so.
type vm struct {
	m     *machine.Machine
	until uint64        // the machine's goroutine only
	there chan struct{} // the machine's goroutine only; closed when until is reached
	jobs  chan func()
	wait  atomic.Int32 // jobs on their way
	quit  chan struct{}
	done  chan struct{}

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

const forever = ^uint64(0)

func newVM() *vm {
	return &vm{jobs: make(chan func()), quit: make(chan struct{}), done: make(chan struct{}), until: forever}
}

func (v *vm) Poll() bool                { return v.wait.Load() != 0 }
func (v *vm) Idle(u devices.Nanos) bool { return v.Poll() || u == machine.Forever }
func (v *vm) Output(b byte)             { v.mu.Lock(); v.out.WriteByte(b); v.mu.Unlock() }
func (v *vm) text() string              { v.mu.Lock(); defer v.mu.Unlock(); return v.out.String() }
func (v *vm) start(m *machine.Machine)  { v.m = m; m.SetHost(v); go v.loop() }
func (v *vm) stop()                     { close(v.quit); <-v.done }

func (v *vm) hash(t testing.TB) (h string) {
	v.do(func() error { h = hash(t, v.m); return nil })
	return h
}

var errGone = errors.New("the machine is gone")

func (v *vm) do(f func() error) error {
	v.wait.Add(1)
	err := make(chan error, 1)
	select {
	case v.jobs <- func() { v.wait.Add(-1); err <- f() }:
		return <-err
	case <-v.done:
		return errGone
	}
}

func (v *vm) loop() {
	defer close(v.done)
	for {
		s := v.m.Run(v.until)
		var room <-chan struct{}
		ready := make(chan struct{})
		switch s {
		case machine.Reached:
			if v.there != nil {
				close(v.there)
				v.there = nil
			}
		case machine.Stalled:
			room = v.m.Memory().Room()
		case machine.Paused:
			if v.wait.Load() == 0 && !v.halted() {
				close(ready)
			}
		}
		select {
		case f := <-v.jobs:
			f()
		case <-room:
		case <-ready:
		case <-v.quit:
			return
		}
	}
}

// halted tells whether Run returns without doing anything.
func (v *vm) halted() bool { return v.m.Run(v.m.Count()) == machine.Paused }

// runTo lets the machine run up to a count and returns when it is there.
func (v *vm) runTo(t testing.TB, count uint64) {
	require.Equal(t, count, v.runOn(t, count, 0), "it had run on")
}

// runOn lets the machine run so many counts beyond where it is, or beyond a count that
// it has not reached, and returns when and where it stands. Where that is comes from the
// machine's goroutine: it does not stand still while it is asked.
func (v *vm) runOn(t testing.TB, least, more uint64) (count uint64) {
	there := make(chan struct{})
	require.NoError(t, v.do(func() error {
		count = max(least, v.m.Count()) + more
		v.until, v.there = count, there
		return nil
	}))
	<-there
	return count
}

func hash(t testing.TB, m *machine.Machine) string {
	h, err := m.Hash()
	require.NoError(t, err)
	return hex.EncodeToString(h[:])
}

func since() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// journey is a guest that moves from one vm to another.
type journey struct {
	t        testing.TB
	from, to *vm
	dep      *machine.Departing
	guest    migrate.Guest // what is sent: dep, or around it
	arr      *machine.Arriving
	opts     migrate.Options

	mu     sync.Mutex
	events []migrate.Event // the source's; guarded by mu
}

func newJourney(t testing.TB, m *machine.Machine, o migrate.Options) *journey {
	j := &journey{t: t, from: newVM(), to: newVM(), opts: o}
	j.from.start(m)
	j.dep = &machine.Departing{M: m, Do: j.from.do, Now: since()}
	j.guest = j.dep
	j.arr = &machine.Arriving{Host: j.to, Do: j.to.do, Started: func(m *machine.Machine) error { j.to.start(m); return nil }}
	return j
}

func (j *journey) note(e migrate.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	if e.What != migrate.EventProgress && testing.Verbose() {
		j.t.Logf("%v %s %s %s %s %+v %+v", e.T, e.Stage, e.What, e.Mode, e.Reason, e.Verdict, e.Pass)
	}
}

// travel moves the guest.
func (j *journey) travel() (sent, got migrate.Report, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(j.t, err)
	conns := make(chan net.Conn)
	go func() {
		defer close(conns)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	received := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	go func() {
		var err error
		got, err = migrate.Receive(ctx, conns, j.arr, migrate.Options{Agent: "receiver"})
		received <- err
	}()
	o := j.opts
	o.Event = j.note
	sent, err = migrate.Send(ctx, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}, j.guest, o)
	l.Close()
	return sent, got, errors.Join(err, <-received)
}

// send makes a pass and has all of it sent.
func send(t testing.TB, d *machine.Departing) {
	p, err := d.Pass()
	require.NoError(t, err)
	var b [4096]byte
	for i, w := range p.Dirty() {
		for n := range uint32(64) {
			if w>>n&1 != 0 {
				page := uint32(i)*64 + n
				p.Read(page, &b)
				p.Sent(page, [16]byte{1})
			}
		}
	}
}
