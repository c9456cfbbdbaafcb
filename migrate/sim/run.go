package sim

import (
	"errors"
	"fmt"
	"time"

	"godwit/migrate"
	"godwit/snapshot"
)

// Scenario is everything a run depends on.
type Scenario struct {
	Program Program
	Disks   DiskProgram // that travel along
	Image   ImageProgram
	Link    Link
	Costs   Costs
	Options migrate.Options // Session is set
	Faults  []Fault
	Seed    uint64
	Horizon time.Duration // virtual; 0: an hour
	After   time.Duration // how long the guest runs on at the end
	Again   bool          // where it failed and the guest is at the source: tries once more
	// Corrupt may change the bytes of one side's connections on their way.
	Corrupt func(fromSource bool, b []byte) []byte
	// Events hears both sides.
	Events func(side string, e migrate.Event)
	// Prepare may change the two machines before the start.
	Prepare func(*Guest, *Builder)
	// Bodies makes what is moved, where that is not Program and Disks.
	Bodies func(src, dst Clock) (*Bodies, error)
}

// Fault is something that happens when a number of messages have been delivered.
type Fault struct {
	At   int // messages
	What What
	For  time.Duration // Cut, Crash: until the other side may notice; Outage: how long
}

// What is a kind of Fault.
type What string

// Kinds of Fault.
const (
	Cut          What = "cut" // every connection
	CrashSource  What = "crash-source"
	CrashDest    What = "crash-dest"
	Blackout     What = "outage" // nothing gets through for a while
	CancelSource What = "cancel-source"
	CancelDest   What = "cancel-dest"
	Throttle     What = "throttle"  // somebody asks for a budget
	PostCopy     What = "post-copy" // or for post-copy
	CutFault     What = "cut-fault" // the connection of pages asked for, for good
)

// Result is what a run came to.
type Result struct {
	Source, Dest       migrate.Report
	SourceErr, DestErr error
	SourceOver         bool
	DestOver           bool
	Downtime           time.Duration // last instruction at the source to first at the destination; 0: never moved
	Waited             time.Duration // post-copy: that the guest waited for pages
	Messages           int
	Damaged            int // times that a side met bytes it could not accept
	RunsAtSource       bool
	RunsAtDest         bool
	Root               [migrate.DigestSize]byte // of the guest that runs
	Count              uint64
	Verdicts           []migrate.Verdict // in order
}

// run is a Scenario under way.
type run struct {
	sc  *Scenario
	w   *world
	g   Origin
	b   Target
	src *migrate.Source
	dst *migrate.Dest
	res Result
	err error

	compare   func(*Result) error
	cancelled bool
}

// Run plays a scenario to its end. An error means that an invariant was broken:
// two owners, none, a guest that is not what it should be, or something left over.
func Run(sc Scenario) (*Result, error) {
	r, err := begin(&sc)
	if err != nil {
		return nil, err
	}
	r.play()
	r.collect()
	if r.err == nil {
		r.err = r.check()
	}
	if r.err == nil && sc.Again && r.g.Running() && !r.w.nodes[0].dead {
		r.err = r.again()
	}
	return &r.res, r.err
}

// again tries a second time, on a network that works, and demands success.
func (r *run) again() error {
	first := r.res
	defer func() { r.res = first }()
	r.w.link.Outages, r.w.corrupt, r.w.onMsg = nil, nil, nil
	r.w.link.DropAt = 0
	dst := &node{w: r.w, side: 1}
	r.w.nodes[1] = dst
	b := NewBuilder(r.sc.Program, dst, r.sc.Costs)
	b.Idle, b.disks, b.image = dst.Idle, r.sc.Disks, r.b.(*Builder).image
	r.b = b
	sc := *r.sc
	sc.Seed, sc.Faults = sc.Seed+1, nil
	sc.Options.Timeout, sc.Options.OnStall = 0, migrate.StallBudget
	sc.Options.CheckOnly = false
	sc.Options.MaxSlowdown, sc.Options.MaxDowntime = 0, time.Minute // what cannot be kept on this link is no failure
	sc.Horizon = r.w.now + sc.Horizon
	r.sc = &sc
	if err := r.engines(); err != nil {
		return err
	}
	r.play()
	r.collect()
	if r.err != nil || r.res.SourceErr != nil || !r.b.Running() || r.g.Running() {
		return fmt.Errorf("the second attempt fails: %w", errors.Join(r.err, r.res.SourceErr, r.res.DestErr))
	}
	return r.compare(&r.res)
}

func begin(sc *Scenario) (*run, error) {
	if sc.Horizon == 0 {
		sc.Horizon = time.Hour
	}
	if sc.Link.Bandwidth == 0 {
		sc.Link.Bandwidth = 1e9
	}
	w := &world{link: sc.Link, rng: sc.Seed, corrupt: sc.Corrupt}
	src, dst := &node{w: w, side: 0}, &node{w: w, side: 1}
	w.nodes = [2]*node{src, dst}
	r := &run{sc: sc, w: w}
	if sc.Bodies == nil {
		r.program(src, dst)
	} else if b, err := sc.Bodies(src, dst); err == nil {
		r.g, r.b, r.compare = b.Origin, b.Target, b.Same
	} else {
		return nil, err
	}
	w.onMsg = r.faults
	return r, r.engines()
}

// program makes a guest that runs the scenario's program.
func (r *run) program(src, dst *node) {
	sc := r.sc
	g, b := NewGuest(sc.Program, src, sc.Costs), NewBuilder(sc.Program, dst, sc.Costs)
	g.Idle, b.Idle = src.Idle, dst.Idle
	g.Have(sc.Disks, sc.Program.Seed)
	b.disks = sc.Disks
	haveImage(sc.Image, g, b)
	if sc.Prepare != nil {
		sc.Prepare(g, b)
	}
	r.g, r.b, r.compare = g, b, r.same
}

// engines makes both sides.
func (r *run) engines() error {
	o := r.sc.Options
	for i := range o.Session {
		o.Session[i] = byte(mix(r.sc.Seed + uint64(i)))
	}
	hear := func(side string) func(migrate.Event) {
		return func(e migrate.Event) {
			if e.What == migrate.EventVerdict {
				r.res.Verdicts = append(r.res.Verdicts, *e.Verdict)
			}
			if r.sc.Events != nil {
				r.sc.Events(side, e)
			}
		}
	}
	var err error
	o.Event = hear("source")
	src, dst := r.w.nodes[0], r.w.nodes[1]
	if pack := r.sc.Costs.Pack; pack != nil {
		o.Packed = func(codec string, bytes int) { src.Idle(time.Duration(pack[codec] * float64(bytes))) }
	}
	if r.src, err = migrate.NewSource(r.g, o, src); err != nil {
		return err
	}
	o.Event, o.Session = hear("destination"), snapshot.UUID{}
	if r.dst, err = migrate.NewDest(r.b, o, dst); err != nil {
		return err
	}
	src.e, dst.e = r.src, r.dst
	r.w.at(r.w.now, func() { src.do(func() {}) })
	return nil
}

// faults makes happen what is due at this message.
func (r *run) faults() {
	for i := range r.sc.Faults {
		f := &r.sc.Faults[i]
		if f.At != r.w.steps || f.What == "" {
			continue
		}
		what := f.What
		f.What = ""
		switch what {
		case Cut:
			r.w.cut(f.For)
		case CrashSource:
			r.g.Die()
			r.w.crash(0, f.For)
		case CrashDest:
			r.b.Stop()
			r.w.crash(1, f.For)
		case Blackout:
			r.w.link.Outages = append(r.w.link.Outages, Outage{r.w.now, f.For})
		case CancelSource:
			r.cancelled = true // may end a source that is in doubt
			r.w.nodes[0].do(func() { r.src.Cancel(errors.New("asked to")) })
		case Throttle:
			r.w.nodes[0].do(func() { r.src.Steer(migrate.SteerBudget) })
		case PostCopy:
			r.w.nodes[0].do(func() { r.src.Steer(migrate.SteerPost) })
		case CutFault:
			r.w.cutFault()
		case CancelDest:
			r.w.nodes[1].do(func() { r.dst.Cancel(errors.New("asked to")) })
		}
	}
}

// grace is how long a destination that runs the guest is watched after the end of
// the source.
const grace = 2 * time.Second

// maxSteps bounds a run.
const maxSteps = 5_000_000

// poll is how often a guest that may wait for a page is looked at.
const poll = time.Millisecond

// play goes on until both sides are done, or nothing more happens.
func (r *run) play() {
	src, dst := r.w.nodes[0], r.w.nodes[1]
	closed := [2]bool{}
	horizon := r.sc.Horizon
	for n := 0; r.err == nil; n++ {
		if n == maxSteps {
			r.err = fmt.Errorf("at %v, after %d steps, it has not ended", r.w.now, n)
		}
		for i, n := range r.w.nodes {
			if _, _, over := n.e.Done(); over && !closed[i] && !n.dead {
				closed[i] = true
				for _, p := range append([]*pipe(nil), n.conns...) {
					n.lastWords(p)
				}
			}
		}
		_, _, over1 := src.e.Done()
		_, _, over2 := dst.e.Done()
		if (over1 || src.dead) && (over2 || dst.dead) {
			return
		}
		if (over1 || src.dead) && r.b.Running() { // it only waits for a word that never comes
			horizon = min(horizon, r.w.now+grace)
		}
		if r.b.Pulls() && !dst.polling && !dst.dead && !over2 {
			dst.polling = true
			r.w.at(r.w.now+poll, func() {
				dst.polling = false
				dst.do(func() {})
			})
		}
		if !r.w.step(horizon) {
			return
		}
		if r.g.Running() && r.b.Running() {
			r.err = fmt.Errorf("at %v both sides run the guest", r.w.now)
		}
	}
}

// collect says how it went. Whoever still waits is told to stop.
func (r *run) collect() {
	res := &r.res
	src, dst := r.w.nodes[0], r.w.nodes[1]
	for range 2 {
		if !src.dead {
			r.src.Cancel(errors.New("the simulation ends"))
		}
		if !dst.dead {
			r.dst.Cancel(errors.New("the simulation ends"))
		}
		for range 10000 {
			if !r.w.step(r.w.now + time.Minute) {
				break
			}
		}
	}
	res.Source, res.SourceErr, res.SourceOver = r.src.Done()
	res.Dest, res.DestErr, res.DestOver = r.dst.Done()
	res.Messages, res.Damaged = r.w.steps, r.w.damaged
	res.RunsAtSource, res.RunsAtDest = r.g.Running(), r.b.Running()
	if at, waited := r.b.Moved(); at > 0 {
		res.Downtime, res.Waited = at-r.g.Left(), waited
	}
}

// check compares the end with what may be.
func (r *run) check() error {
	res := &r.res
	src, dst := r.w.nodes[0], r.w.nodes[1]
	if src.dead {
		r.g.Die()
	}
	var doubt *migrate.InDoubt
	var lost *migrate.Lost
	inDoubt := errors.As(res.SourceErr, &doubt)
	switch {
	case r.g.Running() && r.b.Running():
		return errors.New("both sides run the guest")
	case r.sc.Options.CheckOnly && r.b.Running():
		return errors.New("the guest was moved by a mere check")
	case r.w.scribbled:
		return errors.New("bytes changed while they were on their way out")
	case !src.dead && !res.SourceOver:
		return errors.New("the source has not ended")
	case !dst.dead && !res.DestOver:
		return errors.New("the destination has not ended")
	case !src.dead && !dst.dead && !inDoubt && !r.g.Running() && !r.b.Running():
		return fmt.Errorf("nobody runs the guest: source %v, destination %v", res.SourceErr, res.DestErr)
	case !src.dead && inDoubt && !dst.dead && !r.cancelled:
		return fmt.Errorf("both live, and the source is in doubt: %v", res.SourceErr)
	case !src.dead && res.SourceErr == nil && !r.b.Running() && !dst.dead && !r.sc.Options.CheckOnly:
		return errors.New("the source believes that the guest runs at the destination")
	case !src.dead && res.SourceErr != nil && !inDoubt && !errors.As(res.SourceErr, &lost) && !r.g.Running():
		return fmt.Errorf("the source gave up (%v) and does not run the guest", res.SourceErr)
	case r.g.Running() && !r.g.Clean():
		return errors.New("the guest runs on at the source with something of the migration left")
	}
	return r.compare(res)
}

// same compares the guest with one that never moved.
func (r *run) same(res *Result) error {
	g, b := r.g.(*Guest), r.b.(*Builder)
	switch {
	case g.running:
		g.advance()
		res.Count, res.Root = g.m.count, g.m.root()
	case b.running:
		if err := b.arrived(g); err != nil {
			return err
		}
		for _, a := range b.m.absent {
			if a {
				return nil // pages are lost; nothing runs on them
			}
		}
		b.advance()
		b.m.run(uint64(r.sc.After.Seconds() * r.sc.Program.Rate / float64(r.sc.Program.unit())))
		res.Count, res.Root = b.m.count, b.m.root()
	default:
		return nil
	}
	if want := RootAt(r.sc.Program, res.Count); want != res.Root {
		return fmt.Errorf("after %d stores the state hash is %x, of a guest that never moved %x", res.Count, res.Root, want)
	}
	return nil
}
