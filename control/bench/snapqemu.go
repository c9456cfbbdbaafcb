package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// theirSnapshots measures QEMU's: snapshots in a qcow2 image, for which the guest
// stands still, and a migration to a file.
func (o *Options) theirSnapshots(ctx context.Context, dir string, w *load, t *SavedTable) error {
	v, err := o.bootQEMU(ctx, dir, w, fmt.Sprintf("qemu-%d", len(t.Results)))
	if err != nil {
		return err
	}
	defer func() { v.stop() }()
	for i := range snapshots {
		if err := wait(ctx, idleFor); err != nil {
			return err
		}
		before, start := grown(w.disks[0]), time.Now()
		if err := v.human(fmt.Sprint("savevm s", i)); err != nil {
			return err
		}
		took := int64(time.Since(start))
		t.add(o, Saved{VMM: "qemu", Guest: w.name, Memory: w.memory, What: snapshotName(i), PauseNS: took, TotalNS: took, Bytes: grown(w.disks[0]) - before})
	}
	_, err = o.fileAndBack(ctx, dir, w, v, t)
	return err
}

func (o *Options) bootQEMU(ctx context.Context, dir string, w *load, name string) (*qemu, error) {
	o.say("qemu: booting the guest, %s", w.name)
	v, err := startQEMU(ctx, dir, w, name, "")
	if err != nil {
		return nil, err
	}
	boot, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	if err := v.prints(boot, w.ready); err != nil {
		v.stop()
		return nil, err
	}
	return v, nil
}

// human gives one of the monitor's commands, which print what is wrong.
func (v *qemu) human(command string) error {
	var says string
	if err := v.q.do("human-monitor-command", map[string]any{"command-line": command}, &says); err != nil {
		return err
	}
	if says != "" {
		return fmt.Errorf("qemu: %s: %s", command, says)
	}
	return nil
}

// fileAndBack saves a guest to a file, and loads it in a fresh process.
func (o *Options) fileAndBack(ctx context.Context, dir string, w *load, v *qemu, t *SavedTable) (*qemu, error) {
	file := filepath.Join(dir, fmt.Sprintf("qemu-%d.state", len(t.Results)))
	start := time.Now()
	for _, c := range []struct {
		name string
		args map[string]any
	}{
		{"migrate-set-parameters", map[string]any{"max-bandwidth": uint64(10) << 30}},
		{"stop", nil},
		{"migrate", map[string]any{"uri": "exec:cat >" + file + " && sync " + file}},
	} {
		if err := v.q.do(c.name, c.args, nil); err != nil {
			return v, err
		}
	}
	if err := v.state(ctx, "query-migrate", "completed"); err != nil {
		return v, err
	}
	took := int64(time.Since(start))
	t.add(o, Saved{VMM: "qemu", Guest: w.name, Memory: w.memory, What: "suspend", PauseNS: took, TotalNS: took, Bytes: grown(file)})
	v.stop()
	start = time.Now()
	next, err := startQEMU(ctx, dir, w, filepath.Base(file), "exec:cat "+file)
	if err != nil {
		return v, err
	}
	defer next.stop()
	if err = next.state(ctx, "query-status", "running", "paused", "postmigrate"); err == nil {
		t.add(o, Saved{VMM: "qemu", Guest: w.name, Memory: w.memory, What: "resume, all", TotalNS: int64(time.Since(start))})
	}
	return v, err
}

// state waits until a query says that QEMU is in a state.
func (v *qemu) state(ctx context.Context, query string, want ...string) error {
	for {
		var s struct {
			Status string `json:"status"`
		}
		if err := v.q.do(query, nil, &s); err != nil {
			return err
		}
		for _, w := range want {
			if s.Status == w {
				return nil
			}
		}
		if s.Status == "failed" || s.Status == "internal-error" {
			return errors.New("qemu: " + query + ": " + s.Status)
		}
		if err := wait(ctx, 2*time.Millisecond); err != nil { // QEMU has no way to wait
			return err
		}
	}
}

func (o *Options) theirLarge(ctx context.Context, dir string, w *load, t *SavedTable) error {
	v, err := o.bootQEMU(ctx, dir, w, "qemu-large")
	if err != nil {
		return err
	}
	defer func() { v.stop() }()
	_, err = o.fileAndBack(ctx, dir, w, v, t)
	return err
}
