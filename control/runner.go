package control

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"godwit/backend/disk"
	"godwit/devices"
	"godwit/machine"
)

// Runner runs a machine on one goroutine and is its host: it lets inputs in,
// keeps it in step with the wall clock, and serves requests between two
// instructions.
type Runner struct {
	spec *Spec
	con  *Console
	dir  string // for crash bundles

	wakeup  chan struct{}
	pending atomic.Bool // queue is not empty, or quit
	done    chan struct{}

	mu     sync.Mutex
	queue  []func()  // guarded by mu
	busy   string    // guarded by mu; what a long operation is doing
	shared bool      // guarded by mu; it lets others ask the machine meanwhile
	out    *outgoing // guarded by mu; a migration, or one in doubt
	closed bool      // guarded by mu; nothing is served any more
	status Status    // guarded by mu; as of the last poll

	// The rest belongs to the machine goroutine.
	m       *machine.Machine
	printed []byte // since the last flush
	paused  bool
	halted  bool // its migration keeps it stopped
	reset   bool // the reset button was pressed
	pace    pace
	live    bool // input and time come from outside, not from a log
	wall    bool
	end     *End

	drives []*disk.Drive
	in     *incoming // that disks are placed by; nil: they are where the configuration says
	copied bool      // the disks went along as copies

	snaps  *snaps
	old    *machine.Machine // a snapshot took its place; it may still be in Run
	loader *loading         // nil: all of memory is here

	filling bool // the rest of memory comes

	opened time.Time // when the file was that the VM goes on from; zero: no such, or the guest has gone on
	from   uint64    // count in it
	gc     int       // how much garbage is to be collected at, once it is again; 0: it is
}

func newRunner(spec *Spec, con *os.File, dir string) *Runner {
	r := &Runner{spec: spec, dir: dir, wakeup: make(chan struct{}, 1), done: make(chan struct{})}
	r.con = newConsole(con, r.wake)
	r.status.fill(spec)
	r.status.PID = os.Getpid()
	r.status.State = StateStarting
	return r
}

// wake makes the machine goroutine look at its queues.
func (r *Runner) wake() {
	r.pending.Store(true)
	select {
	case r.wakeup <- struct{}{}:
	default:
	}
}

// Status is how the VM was at the last poll.
func (r *Runner) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

func (r *Runner) update(f func(*Status)) {
	r.mu.Lock()
	f(&r.status)
	r.mu.Unlock()
}

// Do has f run on the machine goroutine, between two instructions.
func (r *Runner) Do(ctx context.Context, f func() error) error {
	r.mu.Lock()
	if r.busy != "" && !r.shared {
		defer r.mu.Unlock()
		if r.out != nil && r.out.doubt {
			return InDoubt(r.status.Name, r.out.address())
		}
		return Fail("busy", fmt.Sprintf("%q is being %s", r.status.Name, r.busy), "", "again in a moment")
	}
	r.mu.Unlock()
	answer := make(chan error, 1)
	if err := r.enqueue(func() { answer <- f() }); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		select {
		case err := <-answer:
			return err
		default:
			return r.over()
		}
	}
}

func (r *Runner) enqueue(f func()) error {
	r.mu.Lock()
	if r.closed || r.m == nil {
		r.mu.Unlock()
		return r.over()
	}
	r.queue = append(r.queue, f)
	r.mu.Unlock()
	r.wake()
	return nil
}

func (r *Runner) over() error {
	s := r.Status()
	return Fail("state", fmt.Sprintf("%q is %s", s.Name, s.State), "there is no machine to ask", "godwit ls -a")
}

// serve runs what is queued.
func (r *Runner) serve() {
	if !r.pending.Swap(false) {
		return
	}
	for r.end == nil {
		r.mu.Lock()
		if len(r.queue) == 0 {
			r.mu.Unlock()
			return
		}
		f := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		f()
	}
}

// Start runs the machine on a goroutine of its own until it ends.
func (r *Runner) Start(m *machine.Machine, paused bool) {
	r.mu.Lock()
	r.m = m
	r.mu.Unlock()
	r.paused = paused
	r.wall = m.Config().Clock == machine.ClockWall
	r.live = r.spec.Replay == ""
	if r.spec.TimeoutNS > 0 {
		m.SetPoll(timeoutPoll)
	}
	m.SetHost(r)
	r.update(func(s *Status) { s.config(m.Config()) })
	r.publish()
	go func() {
		defer close(r.done)
		r.loop()
	}()
}

// timeoutPoll is how many counts lie between two looks at guest time where it is
// limited: with an idle guest that wakes a hundred times a second, well under a
// second of it.
const timeoutPoll = 4096

// loop runs the machine to its end.
func (r *Runner) loop() {
	defer r.finish()
	defer r.caught()
	for r.end == nil {
		r.serve()
		r.discard()
		r.publish()
		switch {
		case r.end != nil:
		case r.reset:
			r.reset = false
			r.m.Input(machine.InputReset, nil)
			r.ended(r.m.Run(r.m.Count())) // executes nothing but the reset
		case r.paused || r.halted:
			r.fill()
			r.pace.stop()
			r.sleep(-1)
		default:
			stop := r.m.Run(r.until())
			r.began()
			r.ended(stop)
			if stop == machine.Stalled {
				r.stalled()
			}
		}
		r.flush()
	}
}

// began is called where the guest may have executed something.
func (r *Runner) began() {
	if r.m.Count() != r.from {
		r.goesOn()
	}
}

// goesOn notes how long a resumed guest took to that: to its first instruction, or to
// where it waits as it did before.
func (r *Runner) goesOn() {
	if r.opened.IsZero() {
		return
	}
	took := time.Since(r.opened)
	r.opened = time.Time{}
	r.update(func(s *Status) { s.FirstNS = int64(took) })
	r.fill()
}

// fill has the rest of memory come from now on: not before the guest's first
// instruction, which would wait for it.
func (r *Runner) fill() {
	r.collect()
	if r.loader != nil && !r.filling {
		r.filling = true
		go r.background(r.loader)
	}
}

// discard gives back what a restored snapshot took the place of.
func (r *Runner) discard() {
	if r.old == nil {
		return
	}
	if err := r.old.Close(); err != nil {
		r.Note(err.Error(), true)
	}
	r.old = nil
}

// stalled waits until memory may refuse no longer, or for something to do.
func (r *Runner) stalled() {
	if r.pull() {
		return
	}
	r.pace.stop()
	select {
	case <-r.m.Memory().Room():
	case <-r.wakeup:
	}
}

func (r *Runner) until() uint64 {
	if r.spec.Until != nil {
		return *r.spec.Until
	}
	return ^uint64(0)
}

// ended notes why Run returned, where that is for good.
func (r *Runner) ended(s machine.Stop) {
	if r.end != nil {
		return
	}
	switch s {
	case machine.Reached:
		if r.m.Count() >= r.until() {
			r.end = &End{Reason: s.String()}
		}
	case machine.Idle:
		r.end = &End{Reason: s.String(), Exit: ExitGuestDied}
	case machine.Off, machine.Hibernated:
		r.end = &End{Reason: s.String()}
	case machine.Exited:
		_, code := r.m.End()
		r.end = &End{Reason: s.String(), Exit: int(code & 0xff)}
	case machine.Tripled, machine.Rebooted:
		r.end = &End{Reason: s.String(), Exit: ExitGuestDied}
	}
}

// finish tells everybody that it is over.
func (r *Runner) finish() {
	r.flush()
	if r.spec.Hash && r.end.Hash == "" && r.end.Exit != ExitBug {
		if h, err := r.m.Hash(); err == nil {
			r.end.Hash = fmt.Sprintf("%x", h)
		}
	}
	r.publish()
	r.tellDisks()
	r.closeDisks()
	r.mu.Lock()
	r.closed, r.busy = true, ""
	r.status.End = r.end
	r.status.State = StateOff
	switch {
	case r.end.Exit == ExitBug:
		r.status.State = StateCrashed
	case r.end.File != "":
		r.status.State = StateSuspended
	case r.end.To != "":
		r.status.State = StateGone
	}
	r.mu.Unlock()
	r.con.close()
}

// caught turns a panic of ours into an end that says where its traces are.
func (r *Runner) caught() {
	p := recover()
	if p == nil {
		return
	}
	bundle := filepath.Join(r.dir, "crash.txt")
	text := fmt.Sprintf("%v\nat #%d\n\n%s", p, r.m.Count(), debug.Stack())
	fmt.Fprintln(os.Stderr, text)
	_ = os.WriteFile(bundle, []byte(text), 0o600) // it is in the log as well
	r.end = &End{Reason: fmt.Sprint(p), Exit: ExitBug, Bundle: bundle}
}

// publish makes the present state known.
func (r *Runner) publish() {
	r.mu.Lock()
	r.status.Count, r.status.GuestNS = r.m.Count(), int64(r.m.Now())
	switch {
	case r.busy != "":
	case r.paused:
		r.status.State = StatePaused
	case r.m.Asleep():
		r.status.State = StateSleeping
	default:
		r.status.State = StateRunning
	}
	r.mu.Unlock()
}

// Output takes a byte from the guest.
func (r *Runner) Output(b byte) {
	if r.printed = append(r.printed, b); len(r.printed) >= 4096 {
		r.con.print(r.printed)
		r.printed = r.printed[:0]
	}
}

// Note keeps a line about the guest for the VM's log, and unless it is minor for
// its status.
func (r *Runner) Note(line string, minor bool) {
	fmt.Fprintln(os.Stderr, "godwit: "+line)
	if !minor {
		r.update(func(s *Status) { s.Note = line })
	}
}

// flush hands on what was printed.
func (r *Runner) flush() (crowded bool) {
	crowded = r.con.print(r.printed)
	r.printed = r.printed[:0]
	return crowded
}

// sleep waits for something to do, at most d; below 0: as long as it takes.
func (r *Runner) sleep(d time.Duration) {
	if d < 0 {
		<-r.wakeup
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-r.wakeup:
	case <-t.C:
	}
}

// stop tells that Run is to return.
func (r *Runner) stopped() bool {
	return r.paused || r.halted || r.reset || r.old != nil || r.end != nil
}

// Poll is called every few hundred thousand instructions.
func (r *Runner) Poll() bool {
	crowded := r.flush()
	r.began()
	for {
		r.serve()
		r.publish()
		if r.troubled() || r.stopped() || r.overtime() {
			return true
		}
		if crowded {
			r.sleep(-1)
			r.pace.stop()
			crowded = r.con.print(nil)
			continue
		}
		if !r.live || !r.wall {
			break
		}
		if n, ok := r.pace.rate(r.m); ok {
			r.m.SetRate(n, rateDen)
		}
		ahead := r.pace.ahead(r.m.Now())
		if ahead < minSleep {
			if -ahead > maxLagTime {
				r.m.Wall(r.m.Now() - devices.Nanos(ahead))
			}
			break
		}
		r.sleep(ahead)
		r.pace.busy = false
	}
	r.feed()
	return false
}

// Idle is called where the guest waits until a moment, or for input only.
func (r *Runner) Idle(until devices.Nanos) bool {
	r.goesOn()
	for {
		crowded := r.flush()
		r.serve()
		r.publish()
		if r.troubled() || r.stopped() || r.overtime() {
			return true
		}
		if crowded {
			r.sleep(-1)
			continue
		}
		if !r.m.Waits() { // a button was pressed
			return false
		}
		r.pace.busy = false
		if r.wall && until != machine.Forever {
			if t := r.pace.now(r.m.Now()); !r.live || t >= until {
				r.m.Wall(max(until, t))
				return false
			}
		}
		if r.feed() {
			return false
		}
		if until == machine.Forever && r.abandoned() {
			r.end = &End{Reason: reasonIdle, Exit: ExitGuestDied}
			return true
		}
		r.sleep(r.untilDue(until))
	}
}

// untilDue is how long to sleep.
func (r *Runner) untilDue(until devices.Nanos) time.Duration {
	if !r.wall || until == machine.Forever {
		return -1
	}
	return time.Duration(until - r.pace.now(r.m.Now()))
}

// abandoned tells that nothing can ever wake an idle guest: it runs to a limit,
// and nobody types, or it would not notice.
func (r *Runner) abandoned() bool {
	limited := r.spec.Until != nil || r.spec.TimeoutNS > 0 || !r.live
	return limited && (r.con.silent() || r.m.Deaf())
}

// overtime ends the machine when its time is up.
func (r *Runner) overtime() bool {
	if r.spec.TimeoutNS == 0 || int64(r.m.Now()) < r.spec.TimeoutNS {
		return false
	}
	r.end = &End{Reason: reasonTime, Exit: ExitGuestTime}
	return true
}

// backlog is how many typed bytes are let into the machine ahead of its serial
// port.
const backlog = 1024

// feed lets in what was typed, and what disks have finished.
func (r *Runner) feed() bool {
	if !r.live {
		return false
	}
	arrived := r.m.Arrived()
	b := r.con.take(backlog - r.m.Backlog())
	if b == nil && !arrived {
		return false
	}
	if r.wall {
		if t := r.pace.now(r.m.Now()); t > r.m.Now() {
			r.m.Wall(t)
		}
	}
	r.m.Arrivals()
	if b != nil {
		r.m.Input(machine.InputConsole, b)
	}
	return true
}

// file is a file of the VM's directory.
func (r *Runner) file(name string) string { return filepath.Join(r.home(), name) }
