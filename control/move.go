package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"godwit/machine"
	"godwit/migrate"
	"godwit/migrate/secure"
	"godwit/snapshot"
)

// MigrateRequest is the body of POST /v1/migrate. What is zero is the engine's
// default.
type MigrateRequest struct {
	To            string  `json:"to"` // HOST:PORT
	Token         string  `json:"token,omitempty"`
	Insecure      bool    `json:"insecure,omitempty"` // instead of a token: not encrypted, nobody proves who it is
	Mode          string  `json:"mode,omitempty"`     // auto, stop, pre, post, hybrid
	MaxDowntimeNS int64   `json:"max_downtime_ns,omitempty"`
	MaxSlowdown   float64 `json:"max_slowdown,omitempty"` // share of the time, 0 to 1
	Bandwidth     uint64  `json:"bandwidth,omitempty"`    // bytes a second
	TimeoutNS     int64   `json:"timeout_ns,omitempty"`
	OnStall       string  `json:"on_stall,omitempty"` // budget, post, stop, cancel
	ObserveNS     int64   `json:"observe_ns,omitempty"`
	GuestClock    string  `json:"guest_clock,omitempty"`  // freeze, jump, slew
	ReconnectNS   int64   `json:"reconnect_ns,omitempty"` // how long a lost connection is made again; below 0: not at all
	Codec         string  `json:"codec,omitempty"`
	CopyDisks     string  `json:"copy_disks,omitempty"` // full, incremental; else both sides reach the same files
	Check         bool    `json:"check,omitempty"`      // no more than the check
}

// outgoing is a migration as its source has it. It lives on when the other side
// may run the guest and has not said so.
type outgoing struct {
	op   *op
	keys *secure.Keys // nil: not encrypted
	opts migrate.Options
	req  MigrateRequest
	at   time.Time

	copy   CopyDisks
	copies []diskCopy // once planned

	mu sync.Mutex
	to string // guarded by mu; may change: the other side's address did

	away, doubt bool   // guarded by Runner.mu; the guest runs on the other side, or may
	epoch       uint64 // guarded by Runner.mu; that was given away, once the engine has ended in doubt
	giveUp      func() // ends the engine's part
	guest       migrate.Guest
	taken       chan error // of capacity 1: answers a take-back
	steer       chan migrate.Steer
}

// prepare checks a request.
func (q *MigrateRequest) prepare() (*outgoing, error) {
	v := &outgoing{req: *q, to: q.To, at: time.Now(), taken: make(chan error, 1), steer: make(chan migrate.Steer, 4)}
	v.req.Token = "" // it has no business in what is kept
	if _, _, err := net.SplitHostPort(q.To); err != nil {
		return nil, Fail("usage", fmt.Sprintf("cannot migrate to %q", q.To), "an address is HOST:PORT", "godwit migrate VM hostb:4444")
	}
	switch {
	case q.Insecure && q.Token != "":
		return nil, Fail("usage", "a token and --insecure exclude each other", "", "godwit migrate VM "+q.To)
	case !q.Insecure:
		t, err := secure.Parse(q.Token)
		if err != nil {
			return nil, BadToken(err)
		}
		v.keys = t.Derive()
	}
	if err := v.options(); err != nil {
		return nil, err
	}
	var err error
	if v.copy, err = ParseCopyDisks(q.CopyDisks); err != nil {
		return nil, err
	}
	if q.GuestClock == "" {
		return v, nil
	}
	if _, err := ParseGuestClock(q.GuestClock); err != nil {
		return nil, err
	}
	return v, nil
}

// BadToken is the error for a token that cannot be.
func BadToken(err error) *Error {
	e := Fail("usage", "the token is not possible", err.Error(), "the one that  godwit receive  printed")
	e.Field = "token"
	return e
}

func (v *outgoing) options() (err error) {
	q := &v.req
	o := migrate.Options{
		MaxDowntime: time.Duration(q.MaxDowntimeNS), MaxSlowdown: q.MaxSlowdown, Bandwidth: float64(q.Bandwidth),
		Timeout: time.Duration(q.TimeoutNS), Observe: time.Duration(q.ObserveNS), CheckOnly: q.Check, Codec: q.Codec, Recover: time.Duration(q.ReconnectNS),
		Agent: "godwit " + Version,
	}
	if o.Mode, err = migrate.ParseMode(orDefault(q.Mode, string(migrate.ModeAuto))); err != nil {
		return Fail("usage", err.Error(), "", "--mode auto")
	}
	if o.OnStall, err = migrate.ParseStall(orDefault(q.OnStall, string(migrate.StallBudget))); err != nil {
		return Fail("usage", err.Error(), "", "--on-stall budget")
	}
	if q.Codec != "" {
		if _, err := snapshot.ParseCodec(q.Codec); err != nil {
			return Fail("usage", err.Error(), "", "--codec s2")
		}
	}
	switch {
	case q.MaxSlowdown < 0 || q.MaxSlowdown > 1:
		return Fail("usage", fmt.Sprintf("slowdown %g is not possible", q.MaxSlowdown), "it is a share of the time, 0 to 1", "--max-slowdown 0.5")
	case q.MaxDowntimeNS < 0:
		return Fail("usage", fmt.Sprintf("downtime %s is below zero", o.MaxDowntime), "", "--max-downtime 300ms")
	case q.TimeoutNS < 0:
		return Fail("usage", fmt.Sprintf("timeout %s is below zero", o.Timeout), "", "--timeout 10m")
	}
	v.opts = o
	return nil
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

// dialTime bounds one attempt to connect.
const dialTime = 10 * time.Second

// dial connects to the other side and has it prove that it has the token.
func (v *outgoing) dial(ctx context.Context) (net.Conn, error) {
	v.mu.Lock()
	to := v.to
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, unreachable("cannot migrate to "+to, to, err)
	}
	if v.keys == nil {
		return c, nil
	}
	return v.keys.Client(ctx, c)
}

func unreachable(what, to string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	host, port, _ := net.SplitHostPort(to)
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return Fail("unreachable", what, fmt.Sprintf("nobody listens on port %s of %s (%v)", port, host, err), "godwit receive :"+port+"  there")
}

// migrate begins to move the machine to the godwit that listens at an address.
func (r *Runner) migrate(o *ops, q *MigrateRequest) (*op, error) {
	v, err := q.prepare()
	if err != nil {
		return nil, err
	}
	if err := r.begin(StateMigrating, "migrated"); err != nil {
		return nil, err
	}
	owner, err := readOwner(r.home())
	if err != nil {
		r.unbusy()
		return nil, err
	}
	verb := "migrate"
	if q.Check {
		verb = "check" // after which the VM is here as before
	}
	p, ctx := o.start(verb, "pages")
	v.op, v.opts.Epoch, v.giveUp = p, owner.Epoch, p.cancel
	p.cancel = func() { r.cancelMove(v) }
	v.opts.Session = snapshot.NewUUID()
	v.opts.Steer = v.steer
	v.opts.Fence, v.opts.Event = r.fence(ctx, v), r.watch(v)
	v.guest = r.guest(ctx, v)
	r.mu.Lock()
	r.out, r.shared = v, true
	r.status.Move = &Move{VM: r.status.Name, At: v.at, Out: true, Peer: q.To, Op: p.now().ID, State: OpRunning, Mode: v.opts.Mode}
	r.mu.Unlock()
	go func() {
		var rep migrate.Report
		err := r.onMachine(func() error { return r.whole(ctx) })
		if err == nil {
			err = v.plan(ctx, r)
		}
		if err == nil {
			rep, err = migrate.Send(ctx, v.dial, v.guest, v.opts)
		}
		r.sent(v, &rep, err)
	}()
	return p, nil
}

// cancelMove gives a migration up, unless the guest runs on the other side, or
// may: its pages are here, and the question where it is.
func (r *Runner) cancelMove(v *outgoing) {
	r.mu.Lock()
	late := ""
	switch {
	case v.doubt:
		late = "too late to cancel: the other side may run the guest, and is being asked"
	case v.away:
		late = "too late to cancel: the guest runs on the other side, and its pages still come from here"
	}
	r.mu.Unlock()
	if late == "" {
		v.giveUp()
		return
	}
	v.op.migrating(migrate.Event{T: time.Since(v.at), Stage: migrate.StageRecovery, What: migrate.EventWarning, Reason: late})
}

// fence makes the record that the machine is the other side's, with all its disks, or
// this one's again.
func (r *Runner) fence(ctx context.Context, v *outgoing) func(uint64, bool) error {
	return func(epoch uint64, away bool) error {
		o := Owner{Epoch: epoch, Away: away, Session: v.opts.Session.String()}
		if !away {
			if err := r.onMachine(r.reclaim); err != nil {
				return err
			}
			return o.write(r.home())
		}
		if err := r.handOver(ctx, v.opts.Session); err != nil {
			return err
		}
		o.To = v.address()
		return o.write(r.home()) // if it fails the guest goes on here, once it has its disks again
	}
}

func (v *outgoing) address() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.to
}

// watch passes on what the engine tells.
func (r *Runner) watch(v *outgoing) func(migrate.Event) {
	return func(e migrate.Event) {
		r.mu.Lock()
		if r.status.Move != nil {
			m := *r.status.Move // statuses that were given out share it
			m.note(&e)
			r.status.Move = &m
		}
		if e.What == migrate.EventStage {
			v.entered(r, e.Stage)
		}
		r.mu.Unlock()
		v.op.migrating(e)
	}
}

// entered notes a stage. r.mu is held.
func (v *outgoing) entered(r *Runner, s migrate.Stage) {
	switch s {
	case migrate.StagePreCopy, migrate.StageRecovery:
		r.shared = !v.away
	case migrate.StageStop, migrate.StageCommit:
		r.shared = false
	case migrate.StageActivate, migrate.StagePostCopy:
		r.shared, v.away, v.doubt = false, true, false
		r.status.State = StateMigrating
	case migrate.StageDoubt:
		r.shared, v.doubt = false, true
		r.status.State = StateInDoubt
	}
}

// sent ends a migration at its source: as the engine ended it.
func (r *Runner) sent(v *outgoing, rep *migrate.Report, err error) {
	what := "cannot migrate to " + v.req.To
	var doubt *migrate.InDoubt
	switch {
	case errors.As(err, &doubt): // somebody takes the guest back
		err := r.own(v, doubt.Epoch)
		r.record(v, rep, AsError(what, doubt))
		v.op.finish(AsError(what, doubt), nil)
		v.taken <- err
	case err != nil || v.req.Check:
		e := AsError(what, err)
		if !v.req.Check {
			r.record(v, rep, e)
		}
		r.here()
		v.op.finish(e, func(o *Op) { o.Report = rep })
	default:
		r.record(v, rep, nil)
		r.gone(v, rep)
		v.op.finish(nil, func(o *Op) { o.Report = rep })
	}
}

// record keeps the migration for the history.
func (r *Runner) record(v *outgoing, rep *migrate.Report, e *Error) {
	m := Move{VM: r.Status().Name, At: v.at, Out: true, Peer: v.address(), State: OpDone, Mode: v.opts.Mode, Error: e}
	switch {
	case e == nil:
		m.Report = rep
	case e.Code == "cancelled":
		m.State = OpCancelled
	case e.Code == "in-doubt":
		m.State = StateInDoubt
	default:
		m.State = OpFailed
	}
	r.remember(&m)
}

// here says that the guest is this side's: all is as it was.
func (r *Runner) here() {
	r.mu.Lock()
	r.out, r.shared, r.status.Move = nil, false, nil
	r.mu.Unlock()
	r.settle()
}

// gone ends the VM here: it runs elsewhere.
func (r *Runner) gone(v *outgoing, rep *migrate.Report) {
	r.mu.Lock()
	r.status.Move = nil
	r.mu.Unlock()
	_ = r.enqueue(func() { // fails where it has ended
		if len(v.copies) > 0 {
			r.leaveDisks()
		}
		r.end = &End{Reason: "moved", To: v.address(), Hash: rep.Root, Report: rep}
	})
}

// ParseGuestClock reads what a guest's clock is to do about the time it stood still.
func ParseGuestClock(text string) (machine.ClockPolicy, error) {
	p, err := machine.ParseClockPolicy(text)
	if err != nil {
		return "", Fail("usage", err.Error(), "", "--guest-clock freeze")
	}
	return p, nil
}
