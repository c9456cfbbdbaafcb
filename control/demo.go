package control

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"godwit/devices"
	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/migrate"
)

// The demo's guest: tiny with its self-checking writer, which goes on until a key
// is pressed.
const (
	demoMemory = 64 << 20 // bytes
	demoHog    = 4        // MiB that it writes again and again
	demoPasses = 1        // to hear of before, and after the move
	demoLimit  = 2 * time.Minute
)

// DemoResult is what a demo measured. Nothing of it is assumed.
type DemoResult struct {
	Hopeless   *migrate.Verdict `json:"hopeless"` // what is said of pre-copy alone
	Moved      *migrate.Report  `json:"moved"`
	PassBefore string           `json:"pass_before"` // last line of the writer in the first process
	PassAfter  string           `json:"pass_after"`  // last in the second
	HashSource string           `json:"hash_source"` // at the stop, computed in the first process
	HashDest   string           `json:"hash_dest"`   // computed in the second, before it ran
	CountLater uint64           `json:"count_later"` // where the second process was stopped
	HashLater  string           `json:"hash_later"`  // its state there
	HashNever  string           `json:"hash_never"`  // the same of a machine that never moved
	Check      string           `json:"check"`       // what the guest found in the second process
	CheckNever string           `json:"check_never"` // what the one found that never moved
	PID        int              `json:"pid"`
	PIDDest    int              `json:"pid_dest"`
	HostNS     int64            `json:"host_ns"` // all of it
	OK         bool             `json:"ok"`
}

// Show tells it to people.
func (d *DemoResult) Show(w io.Writer) {
	fmt.Fprintf(w, "\n%s  in %.1f s: the guest noticed nothing, and nothing of it was lost\n", pick(d.OK, "ok", "FAILED"), float64(d.HostNS)/1e9)
}

// demo is a demo under way.
type demo struct {
	log  io.Writer
	home Home
	r    *Runner
	c    *Client // of the second process
	con  *ConsoleConn
	l    *lines // of con
	here *lines // of the first process's console
	res  DemoResult
}

// Demo boots tiny in this process, moves it while it works to a second process
// over TCP, lets it go on there, and checks everything that can be checked. log
// may be nil.
func Demo(exe string, log io.Writer) (*DemoResult, error) {
	if log == nil {
		log = io.Discard
	}
	dir, err := os.MkdirTemp("", "godwit")
	if err != nil {
		return nil, AsError("the demo needs a temporary folder", err)
	}
	defer os.RemoveAll(dir)
	d := &demo{log: log, home: Home(dir)}
	start := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // without its owner, the second process ends
	late := time.AfterFunc(demoLimit, func() { cancel(); d.abandon() })
	defer late.Stop()
	for _, step := range []func(context.Context, string) error{d.launch, d.boot, d.hopeless, d.move, d.goOn, d.compare, d.check} {
		if err := step(ctx, exe); err != nil {
			d.stop()
			return nil, AsError("the demo failed", err)
		}
	}
	d.stop()
	d.res.HostNS, d.res.OK = int64(time.Since(start)), true
	return &d.res, nil
}

func (d *demo) say(what, format string, args ...any) {
	fmt.Fprintf(d.log, "%-9s %s\n", what, fmt.Sprintf(format, args...))
}

// abandon ends the guest here, so that nobody waits for it any more.
func (d *demo) abandon() {
	if d.r != nil {
		_ = d.r.enqueue(func() { d.r.end = &End{Reason: "the demo takes too long"} }) // it may have ended
	}
}

// stop ends the second process.
func (d *demo) stop() {
	if d.c != nil {
		_ = d.c.Post(context.Background(), "/v1/stop", map[string]string{"how": "force"}, nil) // it may have ended
		d.c.Gone()
	}
}

// launch starts the second process, which waits for a machine.
func (d *demo) launch(ctx context.Context, exe string) error {
	c, err := d.home.Launch(exe, &Spec{Name: "there", Listen: "127.0.0.1:0", Source: "demo", Orphan: OrphanStop})
	if err != nil {
		return err
	}
	d.c = c
	if _, err := c.Wait(ctx, true); err != nil {
		return err
	}
	st, err := c.Status()
	if err != nil {
		return err
	}
	d.res.PID, d.res.PIDDest = os.Getpid(), st.PID
	d.say("two", "processes: this one, %d, and %d, which listens on %s", d.res.PID, st.PID, st.Listen)
	return nil
}

func demoMachine(h machine.Host) (*machine.Machine, error) {
	cfg := machine.DefaultConfig()
	cfg.Memory = demoMemory
	cfg.Append = fmt.Sprintf("run=hog %d 0 rand", demoHog)
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, h)
	if err != nil {
		return nil, err
	}
	return m, m.Boot()
}

// boot lets the guest work here for a while.
func (d *demo) boot(context.Context, string) error {
	spec := &Spec{Name: "here", Source: TinyName}
	d.r = newRunner(spec, nil, string(d.home))
	m, err := demoMachine(d.r)
	if err != nil {
		return err
	}
	rd, err := d.r.con.attach(scrollback, false, false)
	if err != nil {
		return err
	}
	d.say("booting", "tiny with %d MiB: it writes %d MiB of pages in random order, checking each word before it overwrites it", demoMemory>>20, demoHog)
	d.r.Start(m, false)
	d.here = &lines{next: rd.next}
	d.res.PassBefore, err = d.passes(d.here, demoPasses)
	return err
}

// passes waits until the writer has told n times of a pass. It does so about once
// a second.
func (d *demo) passes(l *lines, n int) (last string, err error) {
	for range n {
		if last, err = l.find("hog: pass "); err != nil {
			return "", err
		}
		d.say("guest", "%s", last)
	}
	return last, nil
}

// lines cuts a console's bytes.
type lines struct {
	next func() ([]byte, error)
	buf  []byte
}

func (l *lines) line() (string, error) {
	for {
		if i := strings.IndexByte(string(l.buf), '\n'); i >= 0 {
			s := strings.TrimRight(string(l.buf[:i]), "\r")
			l.buf = l.buf[i+1:]
			return s, nil
		}
		b, err := l.next()
		if err != nil {
			return "", err
		}
		l.buf = append(l.buf, b...)
	}
}

// find reads up to a line that begins so.
func (l *lines) find(start string) (string, error) {
	last := ""
	for {
		s, err := l.line()
		if err != nil {
			return "", fmt.Errorf("the guest's console ended after %q: %w", last, err)
		}
		if strings.Contains(s, "CORRUPT") {
			return "", fmt.Errorf("the guest found: %s", s)
		}
		if last = s; strings.HasPrefix(s, start) {
			return s, nil
		}
	}
}

// The link that the demo pretends to have, in bytes a second: one that its writer
// outruns.
const demoLink = 2 << 20

// hopeless asks beforehand whether pre-copy alone would come to an end.
func (d *demo) hopeless(context.Context, string) error {
	d.say("ask", "whether pre-copy alone comes to an end over %d MiB/s, with the guest stopped for %s at most", demoLink>>20, migrate.DefaultMaxDowntime)
	o, err := d.migrate(&MigrateRequest{Check: true}, func(e *migrate.Event) {
		if e.What == migrate.EventVerdict {
			d.res.Hopeless = e.Verdict
		}
	})
	switch {
	case err != nil:
		return err
	case o.Error != nil:
		return o.Error
	case d.res.Hopeless == nil || d.res.Hopeless.Answer != migrate.Hopeless:
		return fmt.Errorf("pre-copy alone was not found hopeless: %+v", d.res.Hopeless)
	}
	return nil
}

// migrate has the first process migrate to the second and shows it.
func (d *demo) migrate(q *MigrateRequest, also func(*migrate.Event)) (Op, error) {
	st, err := d.c.Status()
	if err != nil {
		return Op{}, err
	}
	q.To, q.Token, q.Bandwidth = st.Listen, d.c.Token(), demoLink
	var ops ops
	p, err := d.r.migrate(&ops, q)
	if err != nil {
		return Op{}, err
	}
	rounds := NewRounds(d.log, "")
	defer rounds.End()
	for last := 0; ; {
		es, more := p.since(last)
		for _, e := range es {
			last = e.ID
			if e.final() {
				return e.Op, nil
			}
			rounds.Event(e.Op.Event)
			also(e.Op.Event)
		}
		if len(es) == 0 {
			<-more
		}
	}
}

// move sends the machine to the second process, in the middle of a pass.
func (d *demo) move(ctx context.Context, _ string) error {
	d.say("migrate", "with the default strategy, auto")
	o, err := d.migrate(&MigrateRequest{}, func(*migrate.Event) {})
	if err != nil {
		return err
	}
	if o.Error != nil {
		return o.Error
	}
	<-d.r.done
	NewRounds(d.log, "").Report(o.Report)
	d.res.Moved, d.res.HashSource = o.Report, o.Report.Root
	return d.arrived(ctx)
}

// arrived asks the second process what it got.
func (d *demo) arrived(ctx context.Context) error {
	o, err := d.c.Follow(ctx, "receive", nil)
	if err != nil {
		return err
	}
	d.c = d.home.Client(o.Status.Name)
	d.res.HashDest = o.Report.Root
	m := d.res.Moved
	d.say("hash", "%s  in the first process, at #%d", d.res.HashSource, m.Count)
	d.say("", "%s  in the second, before it ran", d.res.HashDest)
	if d.res.HashSource != d.res.HashDest || o.Report.Count != m.Count {
		return fmt.Errorf("the two sides hold different machines: #%d and #%d", m.Count, o.Report.Count)
	}
	return nil
}

// goOn watches the guest work in the second process, and stops it somewhere.
func (d *demo) goOn(ctx context.Context, _ string) (err error) {
	if d.con, err = d.c.Console(true, false, 0); err != nil {
		return err
	}
	b := make([]byte, 4096)
	d.l = &lines{next: func() ([]byte, error) { n, err := d.con.Read(b); return b[:n], err }}
	if d.res.PassAfter, err = d.passes(d.l, demoPasses); err != nil {
		return err
	}
	var before, after int
	_, _ = fmt.Sscanf(d.res.PassBefore, "hog: pass %d", &before) // 0 where it cannot be read
	if _, err := fmt.Sscanf(d.res.PassAfter, "hog: pass %d", &after); err != nil || after <= before {
		return fmt.Errorf("the guest told of %q here, and then of %q there", d.res.PassBefore, d.res.PassAfter)
	}
	if err := d.c.Post(ctx, "/v1/pause", nil, nil); err != nil {
		return err
	}
	var h HashView
	if err := d.c.Get(ctx, "/v1/hash", &h); err != nil {
		return err
	}
	d.res.CountLater, d.res.HashLater = h.Count, h.Hash
	return nil
}

// compare runs a machine that never moved up to the same count, and lets that one
// verify itself too.
func (d *demo) compare(context.Context, string) error {
	h := &typist{}
	m, err := demoMachine(h)
	if err != nil {
		return err
	}
	defer m.Close()
	if s := m.Run(d.res.CountLater); s != machine.Reached {
		return fmt.Errorf("a machine that never moved stops at #%d: %s", m.Count(), s)
	}
	sum, err := m.Hash()
	if err != nil {
		return err
	}
	d.res.HashNever = fmt.Sprintf("%x", sum)
	d.say("later", "%s  in the second process at #%d", d.res.HashLater, d.res.CountLater)
	d.say("", "%s  of a machine that never moved, there", d.res.HashNever)
	if d.res.HashLater != d.res.HashNever {
		return fmt.Errorf("at #%d the machine that moved differs from one that did not", d.res.CountLater)
	}
	for _, step := range []struct{ keys, line string }{{" ", "hog: stopped"}, {"check\r", "check: "}} { // any key ends the writer
		h.until = step.line
		m.Input(machine.InputConsole, []byte(step.keys))
		m.Run(m.Count() + demoCheck)
	}
	d.res.CheckNever = h.line()
	if !strings.HasPrefix(d.res.CheckNever, "check: ok") {
		return fmt.Errorf("the machine that never moved found: %q", d.res.CheckNever)
	}
	d.say("guest", "%s  of the one that never moved, its writer stopped there", d.res.CheckNever)
	return nil
}

// demoCheck bounds what the guest takes to verify itself, in counts.
const demoCheck = 2_000_000_000

// typist is the host of a machine that is told to do something, which is over when
// it has printed a line.
type typist struct {
	printed []byte
	until   string // how the line begins
}

func (t *typist) Output(b byte) { t.printed = append(t.printed, b) }

// line is the one that is waited for, once it is whole.
func (t *typist) line() string {
	i := strings.LastIndex(string(t.printed), "\n"+t.until)
	if i < 0 {
		return ""
	}
	s, _, whole := strings.Cut(string(t.printed[i+1:]), "\n")
	return pick(whole, strings.TrimRight(s, "\r"), "")
}

// Poll ends the run once the line is there.
func (t *typist) Poll() bool { return t.line() != "" }

// Idle is like Poll: nobody types anything else.
func (t *typist) Idle(until devices.Nanos) bool { return until == machine.Forever || t.Poll() }

// check has the guest verify itself.
func (d *demo) check(ctx context.Context, _ string) error {
	if err := d.c.Post(ctx, "/v1/cont", nil, nil); err != nil {
		return err
	}
	if _, err := io.WriteString(d.con, " "); err != nil { // any key ends the writer
		return err
	}
	if _, err := d.l.find("hog: stopped"); err != nil {
		return err
	}
	if _, err := io.WriteString(d.con, "check\r"); err != nil {
		return err
	}
	s, err := d.l.find("check: ")
	if err != nil {
		return err
	}
	d.res.Check = s
	d.say("guest", "%s  of the one that moved, its writer stopped a little later", s)
	if !strings.HasPrefix(s, "check: ok") {
		return fmt.Errorf("the guest found: %s", s)
	}
	return nil
}
