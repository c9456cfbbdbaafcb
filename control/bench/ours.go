package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"godwit/control"
	"godwit/machine"
	"godwit/migrate"
)

// OurModes are the strategies that are measured where none is asked for.
var OurModes = []string{string(migrate.ModePre), string(migrate.ModeAuto), string(migrate.ModePost)}

// ours measures godwit, in processes as users have them. A guest that has moved is
// the next one's source.
func (o *Options) ours(ctx context.Context, dir string, w *load, t *Table) error {
	home := control.Home(filepath.Join(dir, "home"))
	o.say("godwit: booting the guest, writer %d MiB", w.writer)
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append, cfg.Clock = w.memory, w.cmdline, machine.ClockWall
	c, err := home.Launch(o.Exe, &control.Spec{Name: fmt.Sprintf("bench-%d-0", w.writer), Machine: cfg, Source: "bench", Kernel: w.kernel, Initrd: w.initrd})
	if err != nil {
		return err
	}
	defer func() { stop(c) }()
	if err := prints(ctx, c, w.ready); err != nil {
		return err
	}
	n := 0
	for _, bw := range o.Bandwidths {
		for _, m := range o.Modes {
			n++
			next, r, err := o.move(ctx, home, c, fmt.Sprintf("bench-%d-%d", w.writer, n), migrate.Mode(m), bw)
			if err != nil {
				return err
			}
			if next != nil {
				c = next
			}
			r.VMM, r.Mode, r.Writer, r.Bandwidth = "godwit", m, w.writer, bw
			t.Results = append(t.Results, *r)
			o.say("godwit: %s", r.line())
		}
	}
	return nil
}

func stop(c *control.Client) {
	_ = c.Post(c.Context(), "/v1/stop", map[string]string{"how": "force"}, nil) // it may have ended
	c.Gone()
}

// prints waits until the guest has printed something.
func prints(ctx context.Context, c *control.Client, text string) error {
	con, err := c.Console(false, false, 1<<16)
	if err != nil {
		return err
	}
	defer con.Close()
	late, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	defer context.AfterFunc(late, func() { con.Close() })()
	var seen strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(seen.String(), text) {
		n, err := con.Read(b)
		if err != nil {
			return fmt.Errorf("the guest did not print %q: %w", text, err)
		}
		seen.Write(b[:n])
	}
	return nil
}

// move migrates c to a fresh process, and gives that.
func (o *Options) move(ctx context.Context, home control.Home, c *control.Client, name string, m migrate.Mode, bw uint64) (*control.Client, *Result, error) {
	to, err := home.Launch(o.Exe, &control.Spec{Name: name, Listen: "127.0.0.1:0", Insecure: true, Source: "bench"})
	if err != nil {
		return nil, nil, err
	}
	st, err := to.Status()
	if err != nil {
		return nil, nil, err
	}
	q := control.MigrateRequest{
		To: st.Listen, Insecure: true, Mode: string(m), Bandwidth: bw, MaxDowntimeNS: int64(maxDowntime), TimeoutNS: int64(o.Limit),
		ObserveNS: -1,
	} // nobody else watches the guest beforehand
	if m == migrate.ModePre {
		q.OnStall = string(migrate.StallCancel) // pre-copy alone
	}
	start := time.Now()
	op, err := c.Migrate(ctx, &q, nil)
	var e *control.Error
	if errors.As(err, &e) && (e.Code == "stalled" || e.Code == "timed-out") {
		stop(to)
		r := &Result{TotalNS: int64(time.Since(start))}
		if op.Report != nil {
			r.Bytes, r.Passes = op.Report.Sent+op.Report.Received, len(op.Report.Passes)
		}
		return nil, r, nil
	}
	if err != nil {
		stop(to)
		return nil, nil, err
	}
	if _, err := to.Follow(ctx, "receive", nil); err != nil {
		return nil, nil, err
	}
	p := op.Report
	return home.Client(name), &Result{
		Done: true, TotalNS: int64(p.Total), DowntimeNS: int64(p.Downtime.Total), FenceNS: int64(p.Downtime.Fence),
		Bytes: p.Sent + p.Received, Passes: len(p.Passes), Slowdown: p.Slowdown, Chosen: string(p.Chosen), Faults: p.Faults, Cuts: p.Cuts,
	}, nil
}
