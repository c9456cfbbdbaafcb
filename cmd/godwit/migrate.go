package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/internal/host"
	"godwit/migrate"
)

// interruptible gives a context that Ctrl-C cancels.
func interruptible() (context.Context, func()) {
	return signal.NotifyContext(context.Background(), os.Interrupt)
}

// migrateFlags are the flags of migrate.
type migrateFlags struct {
	control.MigrateRequest
	downtime, timeout, observe, reconnect time.Duration
	bandwidth, token                      string
	takeBack                              bool
}

func (a *app) migrateCommand() *cobra.Command {
	var m migrateFlags
	c := &cobra.Command{
		Use: "migrate [VM] HOST:PORT", GroupID: "Move", Short: "move a running VM to another godwit",
		Long: `Move a running VM to another godwit, which was told to receive one.

The two trust each other by the token that the other side printed: type it where asked, or give it in GODWIT_TOKEN.

Before the first byte it is predicted, from how the guest writes, whether copying it while it runs (pre-copy) comes to an end, and
what would have to change if not. Modes: auto predicts, chooses and says why; pre is pre-copy; stop is stop-and-copy; post is
post-copy, where the guest runs there at once and its pages follow; hybrid is one round of pre-copy, then post-copy.

If pre-copy does not come to an end by itself, --on-stall says what then: budget bounds the pages that the guest may write to in a
round, so that every writer comes to an end, and tells how much that slows it down; post goes on as post-copy; stop stops the guest
however long the rest takes; cancel gives up. Ctrl-C gives up at any time before the other side is the owner: the guest runs on here. At a terminal, keys steer
it too: t holds the guest to a budget from now on, p goes on as post-copy when the round under way has arrived, q gives up.

A VM's disks are to be reached on both sides, as the same files; receive --disk ID=FILE says where if not at the same place. They
change hands, all or none, while the VM stands still. With --copy-disks full they need not be: all that the disks hold travels while
the VM runs, then what it wrote meanwhile, to new files in its directory there. With --copy-disks incremental only what overlays hold
travels, where the other side has the image below, at the same place or at that of receive --disk ID=FILE; its content is compared.

If the connection fails just when the other side may have become the owner, the VM is in doubt: it stays stopped here and asks until
it knows. --force-take-back runs it here again; nothing then stops the other side from running it too, so look there first.`,
		Example: "  godwit migrate plover hostb:4444\n  godwit migrate plover hostb:4444 --check\n" +
			"  godwit migrate plover hostb:4444 --mode post --bandwidth 100M\n  godwit migrate plover hostb:4444 --copy-disks full\n  godwit migrate plover --force-take-back",
		Args:              cobra.RangeArgs(0, 2),
		ValidArgsFunction: a.names,
		RunE: func(_ *cobra.Command, args []string) error {
			if m.takeBack {
				return a.takeBack(args)
			}
			if len(args) == 0 {
				return control.Fail("usage", "migrate needs to know where to", "", "godwit migrate VM hostb:4444")
			}
			return a.migrate(&m, args)
		},
	}
	f := c.Flags()
	f.StringVar(&m.Mode, "mode", "auto", "auto, pre, post, hybrid or stop")
	f.DurationVar(&m.downtime, "max-downtime", 300*time.Millisecond, "the guest may stand still so long")
	f.Float64Var(&m.MaxSlowdown, "max-slowdown", 0, "a budget may slow the guest, or what it writes to disks that travel, down by this share, 0 to 1 (default: no limit)")
	f.StringVar(&m.bandwidth, "bandwidth", "", "bytes a second at most: 100M (default: no limit)")
	f.DurationVar(&m.timeout, "timeout", 0, "give up after this time, the guest running on here (default: never)")
	f.StringVar(&m.OnStall, "on-stall", "budget", "budget, post, stop or cancel")
	f.DurationVar(&m.reconnect, "reconnect", 30*time.Second, "try so long to make a lost connection again; 0s: do not")
	f.DurationVar(&m.observe, "observe", time.Second, "watch the guest so long before the first page; 0s: do not")
	f.StringVar(&m.GuestClock, "guest-clock", "freeze", "a wall clock's guest: freeze (no gap, then late), jump or slew")
	f.StringVar(&m.Codec, "codec", "", "none, s2 or zstd (default: as it pays)")
	f.StringVar(&m.CopyDisks, "copy-disks", "", "full or incremental (default: both sides reach the same files)")
	f.BoolVar(&m.Check, "check", false, "only check whether the other side would take the VM, and predict")
	f.StringVar(&m.token, "token", "", "the other side's token (shows in lists of processes: rather GODWIT_TOKEN)")
	f.BoolVar(&m.Insecure, "insecure", false, "no token and no encryption, on both sides")
	f.BoolVar(&m.takeBack, "force-take-back", false, "run a VM here again that is in doubt")
	return c
}

// request fills in what the flags say.
func (a *app) request(m *migrateFlags, to string) (*control.MigrateRequest, error) {
	q := &m.MigrateRequest
	q.To, q.MaxDowntimeNS, q.TimeoutNS = to, int64(m.downtime), int64(m.timeout)
	for _, d := range []struct {
		flag time.Duration
		to   *int64
	}{{m.observe, &q.ObserveNS}, {m.reconnect, &q.ReconnectNS}} {
		if *d.to = int64(d.flag); d.flag == 0 {
			*d.to = -1 // 0 is the engine's default
		}
	}
	if m.bandwidth != "" {
		n, err := control.ParseBytes(m.bandwidth)
		if err != nil {
			return nil, err
		}
		q.Bandwidth = n
	}
	if q.Insecure {
		if m.token != "" {
			return nil, control.Fail("usage", "--token and --insecure exclude each other", "", "godwit migrate VM "+to)
		}
		return q, nil
	}
	var err error
	q.Token, err = a.token(m.token)
	return q, err
}

// token finds the other side's token: the flag's, the environment's, or what is
// typed.
func (a *app) token(flag string) (string, error) {
	if flag != "" {
		fmt.Fprintln(a.err, "godwit: --token shows in lists of processes; "+control.TokenVariable+" and the prompt do not")
		return flag, nil
	}
	if t := os.Getenv(control.TokenVariable); t != "" {
		return t, nil
	}
	if !host.IsTerminal(os.Stdin) {
		return "", control.Fail("usage", "there is no token", "godwit receive  printed one on the other side", control.TokenVariable+"=...  godwit migrate, or  --insecure  on both sides")
	}
	return a.ask("token: ")
}

// ask has the user type a line.
func (a *app) ask(prompt string) (string, error) {
	fmt.Fprint(a.err, prompt)
	s, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && s == "" {
		return "", control.Fail("cancelled", "nothing was typed", "", "")
	}
	return strings.TrimSpace(s), nil
}

func (a *app) migrate(m *migrateFlags, args []string) error {
	to := args[len(args)-1]
	c, err := a.vm(args[:len(args)-1])
	if err != nil {
		return err
	}
	q, err := a.request(m, to)
	if err != nil {
		return err
	}
	st, err := c.Status()
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer context.AfterFunc(ctx, stop)() // a second Ctrl-C leaves
	defer stop()
	rounds, show, end := a.rounds(&st, to, q.Check)
	restore := func() {}
	if t := a.terminal(); !a.json && !q.Check && t.Interactive() {
		if restore, err = c.Steering(t, rounds, stop, func(s os.Signal) { os.Exit(128 + host.SignalNumber(s)) }); err != nil {
			return err
		}
	}
	o, err := c.Migrate(ctx, q, show)
	end(o.Report, err)
	restore()
	switch {
	case err != nil:
		return stillHere(c, err)
	case a.json:
	case q.Check:
		fmt.Fprintf(a.out, "%s would take %s.  godwit migrate %[2]s %[1]s\n", to, c.Name())
	default:
		name := c.Name()
		if o.Report != nil && o.Report.Name != "" {
			name = o.Report.Name
		}
		fmt.Fprintf(a.out, "%s now lives on %s; there:  godwit attach %s\n", c.Name(), to, name)
	}
	return nil
}

// stillHere says of a migration that was given up where the guest is.
func stillHere(c *control.Client, err error) error {
	e := control.AsError("the migration failed", err)
	switch e.Code {
	case "cancelled", "truncated", "altered", "unreachable", "timed-out", "stalled":
	default: // nothing was begun, or the guest may not be here
		return e
	}
	why := strings.TrimSuffix(e.Why, "; nothing is lost")
	switch st, err := c.Status(); {
	case err != nil:
	case st.State == control.StateRunning:
		e.Why = why + fmt.Sprintf("; %q runs on here", c.Name())
	case st.State == control.StatePaused, st.State == control.StateSleeping:
		e.Why = why + fmt.Sprintf("; %q is here as it was, %s", c.Name(), st.State)
	}
	return e
}

// rounds shows a migration's events: as lines for people, or each as an object.
func (a *app) rounds(st *control.Status, to string, check bool) (r *control.Rounds, show func(*migrate.Event), end func(*migrate.Report, error)) {
	if a.json {
		enc := json.NewEncoder(a.out)
		return nil, func(e *migrate.Event) { _ = enc.Encode(e) }, func(*migrate.Report, error) {} // who reads it may have had enough
	}
	host, _, _ := net.SplitHostPort(to)
	r = control.NewRounds(a.out, fmt.Sprintf("%s would take it: %s · %d CPU · memory %s · version", host, st.CPU, st.CPUs, control.SizeText(st.Memory)))
	return r, r.Event, func(p *migrate.Report, err error) {
		if r.End(); err == nil && !check {
			r.Report(p)
		}
	}
}

// takeBack runs a VM here again that may run elsewhere.
func (a *app) takeBack(args []string) error {
	if len(args) > 1 {
		return control.Fail("usage", "--force-take-back needs no address", "", "godwit migrate "+args[0]+" --force-take-back")
	}
	c, err := a.vm(args)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.err, "%q may be running on another host, and nothing keeps it from going on there.\n", c.Name())
	name, err := a.ask("Type its name to run it here: ")
	if err != nil {
		return err
	}
	var st control.Status
	if err := c.Post(c.Context(), "/v1/take-back", map[string]string{"name": name}, &st); err != nil {
		return err
	}
	return a.print(st, func(w io.Writer) { fmt.Fprintf(w, "%s is %s here\n", st.Name, st.State) })
}

func (a *app) migrationsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "migrations", GroupID: "Move", Short: "list migrations: those that go on, and those that were",
		Example: "  godwit migrations\n  godwit migrations --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m := a.home.Moves()
			return a.print(m, m.Show)
		},
	}
}
