package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"godwit/control"
	"godwit/machine"
)

// ourSnapshots measures godwit's, in a process as users have it.
func (o *Options) ourSnapshots(ctx context.Context, dir string, w *load, t *SavedTable) error {
	home, name := control.Home(filepath.Join(dir, "home")), fmt.Sprintf("bench-%d", len(t.Results))
	c, err := o.boot(ctx, home, w, name)
	if err != nil {
		return err
	}
	defer func() { stop(c) }()
	for i := range snapshots {
		if err := wait(ctx, idleFor); err != nil {
			return err
		}
		op, err := c.Begin(ctx, "/v1/snap", &control.SnapRequest{}, nil)
		if err != nil {
			return err
		}
		s := op.Snap
		t.add(o, Saved{
			VMM: "godwit", Guest: w.name, Memory: w.memory, What: snapshotName(i),
			PauseNS: s.PauseNS, TotalNS: s.TookNS, Bytes: s.Bytes, Pages: s.Stored,
		})
	}
	for _, l := range []control.Load{control.LoadAll, control.LoadActive, control.LoadNone} {
		c, err = o.saveAndResume(ctx, home, c, w, l, t)
		if err != nil {
			return err
		}
	}
	return nil
}

func snapshotName(i int) string {
	if i == 0 {
		return "snapshot, first"
	}
	return "snapshot, next"
}

// boot starts a VM and waits until its guest is at its work.
func (o *Options) boot(ctx context.Context, home control.Home, w *load, name string) (*control.Client, error) {
	o.say("godwit: booting the guest, %s", w.name)
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append, cfg.Clock = w.memory, w.cmdline, machine.ClockWall
	for i, d := range w.disks {
		cfg.Disks = append(cfg.Disks, machine.DiskConfig{ID: fmt.Sprint("disk", i), File: d, ReadOnly: i > 0})
	}
	c, err := home.Launch(o.Exe, &control.Spec{Name: name, Machine: cfg, Source: "bench", Kernel: w.kernel, Initrd: w.initrd})
	if err != nil {
		return nil, err
	}
	if err := prints(ctx, c, w.ready); err != nil {
		stop(c)
		return nil, err
	}
	return c, nil
}

// saveAndResume suspends a VM and has it go on, with as much of its memory at first
// as load says.
func (o *Options) saveAndResume(ctx context.Context, home control.Home, c *control.Client, w *load, load control.Load, t *SavedTable) (*control.Client, error) {
	start := time.Now()
	op, err := c.Begin(ctx, "/v1/suspend", nil, nil)
	if err != nil {
		return c, err
	}
	s := op.Saved
	t.add(o, Saved{
		VMM: "godwit", Guest: w.name, Memory: w.memory, What: "suspend",
		PauseNS: s.TookNS, TotalNS: int64(time.Since(start)), Bytes: s.Bytes, Pages: s.Pages - s.Zero,
	})
	c.Gone()
	spec := &control.Spec{Load: load}
	if err := home.ToResume(spec, c.Name()); err != nil {
		return c, err
	}
	start = time.Now()
	next, err := home.Launch(o.Exe, spec)
	if err != nil {
		return c, err
	}
	total := time.Since(start)
	first, err := begun(ctx, next)
	if load == control.LoadAll {
		load = "all"
	}
	t.add(o, Saved{VMM: "godwit", Guest: w.name, Memory: w.memory, What: "resume, " + string(load), TotalNS: int64(total), FirstNS: first})
	return next, err
}

// begun waits until a resumed guest goes on, and tells how long it was to that from the
// opening of its file.
func begun(ctx context.Context, c *control.Client) (int64, error) {
	late, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for {
		st, err := c.Status()
		if err != nil || st.FirstNS != 0 {
			return st.FirstNS, err
		}
		if err := wait(late, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// ourLarge measures resuming without memory.
func (o *Options) ourLarge(ctx context.Context, dir string, w *load, t *SavedTable) error {
	home := control.Home(filepath.Join(dir, "home"))
	c, err := o.boot(ctx, home, w, "bench-large")
	if err != nil {
		return err
	}
	defer func() { stop(c) }()
	for range 3 {
		if c, err = o.saveAndResume(ctx, home, c, w, control.LoadNone, t); err != nil {
			return err
		}
	}
	return nil
}
