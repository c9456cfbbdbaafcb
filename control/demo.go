package control

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"godwit/firmware/tiny"
	"godwit/machine"
)

// The demo's guest: tiny with its self-checking writer, which goes on until a key
// is pressed.
const (
	demoMemory = 64 << 20 // bytes
	demoHog    = 24       // MiB that it writes again and again
	demoPasses = 2        // to hear of before, and after the move
	demoLimit  = time.Minute
)

// DemoResult is what a demo measured. Nothing of it is assumed.
type DemoResult struct {
	Moved      *MoveResult `json:"moved"`
	PassBefore string      `json:"pass_before"` // last line of the writer in the first process
	PassAfter  string      `json:"pass_after"`  // last in the second
	HashSource string      `json:"hash_source"` // at the stop, computed in the first process
	HashDest   string      `json:"hash_dest"`   // computed in the second, before it ran
	GuestGapNS int64       `json:"guest_gap_ns"`
	CountLater uint64      `json:"count_later"` // where the second process was stopped
	HashLater  string      `json:"hash_later"`  // its state there
	HashNever  string      `json:"hash_never"`  // the same of a machine that never moved
	Check      string      `json:"check"`       // what the guest found
	PID        int         `json:"pid"`
	PIDDest    int         `json:"pid_dest"`
	HostNS     int64       `json:"host_ns"` // all of it
	OK         bool        `json:"ok"`
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
	for _, step := range []func(context.Context, string) error{d.launch, d.boot, d.move, d.goOn, d.compare, d.check} {
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
	d.res.PassBefore, err = d.passes(&lines{next: rd.next}, demoPasses)
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

// move sends the machine to the second process, in the middle of a pass.
func (d *demo) move(ctx context.Context, _ string) error {
	st, err := d.c.Status()
	if err != nil {
		return err
	}
	var ops ops
	p, err := d.r.send(&ops, st.Listen)
	if err != nil {
		return err
	}
	for last := 0; ; {
		es, more := p.since(last)
		if len(es) > 0 {
			e := es[len(es)-1]
			last = e.ID
			if e.final() {
				break
			}
			continue
		}
		<-more
	}
	o := p.now()
	if o.Error != nil {
		return o.Error
	}
	<-d.r.done
	d.res.Moved, d.res.HashSource = o.Moved, o.Moved.Root
	return d.arrived(ctx)
}

// arrived asks the second process what it got.
func (d *demo) arrived(ctx context.Context) error {
	o, err := d.c.Follow(ctx, "receive", nil)
	if err != nil {
		return err
	}
	d.c = d.home.Client(o.Status.Name)
	d.res.HashDest = o.Moved.Root
	d.res.GuestGapNS = o.Moved.GuestNS - d.res.Moved.GuestNS
	m := d.res.Moved
	d.say("stopped", "at #%d, %.6f s of guest time", m.Count, float64(m.GuestNS)/1e9)
	d.say("moved", "%d bytes for %d pages: %d raw, %d zero, %d never written", m.Bytes, m.Pages, m.Kinds["raw"].Pages, m.Kinds["zero"].Pages, m.Implied)
	d.say("", "%d of the bytes are CPU, devices and the kernel image", m.Sections)
	d.say("pause", "%.1f ms of host time; the guest's clock went on by %d ns", float64(m.PauseNS)/1e6, d.res.GuestGapNS)
	d.say("hash", "%s  in the first process", d.res.HashSource)
	d.say("", "%s  in the second, before it ran", d.res.HashDest)
	if d.res.HashSource != d.res.HashDest || d.res.GuestGapNS != 0 || o.Moved.Count != m.Count {
		return fmt.Errorf("the two sides hold different machines: #%d and #%d", m.Count, o.Moved.Count)
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

// compare runs a machine that never moved up to the same count.
func (d *demo) compare(context.Context, string) error {
	m, err := demoMachine(nil)
	if err != nil {
		return err
	}
	defer m.Close()
	if s := m.Run(d.res.CountLater); s != machine.Reached {
		return fmt.Errorf("a machine that never moved stops at #%d: %s", m.Count(), s)
	}
	h, err := m.Hash()
	if err != nil {
		return err
	}
	d.res.HashNever = fmt.Sprintf("%x", h)
	d.say("later", "%s  in the second process at #%d", d.res.HashLater, d.res.CountLater)
	d.say("", "%s  of a machine that never moved, there", d.res.HashNever)
	if d.res.HashLater != d.res.HashNever {
		return fmt.Errorf("at #%d the machine that moved differs from one that did not", d.res.CountLater)
	}
	return nil
}

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
	d.say("guest", "%s", s)
	if !strings.HasPrefix(s, "check: ok") {
		return fmt.Errorf("the guest found: %s", s)
	}
	return nil
}
