package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// qemu is one process of qemu-system-x86_64 with TCG.
type qemu struct {
	cmd    *exec.Cmd
	q      *qmp
	serial string // file its serial port is written to
}

// startQEMU starts one: booting the workload, or waiting for a machine at incoming.
func startQEMU(ctx context.Context, dir string, w *load, name, incoming string) (*qemu, error) {
	v := &qemu{serial: filepath.Join(dir, name+".serial")}
	sock := filepath.Join(dir, name+".qmp")
	args := []string{
		"-M", "pc", "-accel", "tcg", "-smp", "1", "-m", fmt.Sprint(w.memory >> 20), "-nodefaults", "-display", "none",
		"-serial", "file:" + v.serial, "-qmp", "unix:" + sock + ",server=on,wait=off",
		"-kernel", w.kernel, "-initrd", w.initrd, "-append", w.cmdline,
	}
	for i, d := range w.disks {
		args = append(args, "-drive", []string{"if=virtio,format=qcow2,file=", "if=virtio,format=raw,readonly=on,file="}[i]+d)
	}
	if incoming != "" {
		args = append(args, "-incoming", incoming)
	}
	v.cmd = exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	v.cmd.Stderr = log
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	dial, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if v.q, err = dialQMP(dial, sock); err != nil {
		v.stop()
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("qemu does not answer: %w: %s", err, strings.TrimSpace(string(text)))
	}
	return v, nil
}

func (v *qemu) stop() {
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait() // it was killed
}

// prints waits until the guest has printed something.
func (v *qemu) prints(ctx context.Context, text string) error {
	for {
		b, err := os.ReadFile(v.serial)
		if err == nil && strings.Contains(string(b), text) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the guest under qemu did not print %q: %w", text, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// qemuMode is a way to use QEMU's migration.
type qemuMode struct {
	name  string
	caps  []string
	later string // a command to give once the first pass is over
}

var qemuModes = []qemuMode{
	{"pre-copy", nil, ""},
	{"auto-converge", []string{"auto-converge"}, ""},
	{"post-copy", []string{"postcopy-ram"}, "migrate-start-postcopy"},
}

// info is what query-migrate tells.
type info struct {
	Status   string `json:"status"`
	Total    int64  `json:"total-time"` // ms
	Downtime int64  `json:"downtime"`   // ms
	Error    string `json:"error-desc"`
	RAM      struct {
		Transferred uint64 `json:"transferred"`
		Syncs       uint64 `json:"dirty-sync-count"`
	} `json:"ram"`
}

// errNever says that a migration did not end in the time it had.
var errNever = errors.New("never")

// move migrates v to a fresh process, and gives that.
func (v *qemu) move(ctx context.Context, dir string, w *load, m qemuMode, bandwidth uint64, limit time.Duration, n int) (*qemu, *Result, error) {
	addr, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	to, err := startQEMU(ctx, dir, w, fmt.Sprintf("qemu%d", n), "defer")
	if err != nil {
		return nil, nil, err
	}
	r, err := v.moveTo(ctx, to, "tcp:"+addr, m, bandwidth, limit)
	if err == nil {
		err = to.runs(ctx)
	}
	if err != nil {
		to.stop()
		return nil, r, err
	}
	v.stop()
	return to, r, nil
}

func (v *qemu) moveTo(ctx context.Context, to *qemu, addr string, m qemuMode, bandwidth uint64, limit time.Duration) (*Result, error) {
	if bandwidth == 0 {
		bandwidth = 10 << 30 // of QEMU's own; 0 means something else there
	}
	var caps []map[string]any // all of them: a process that was a destination has its own
	for _, c := range []string{"auto-converge", "postcopy-ram"} {
		caps = append(caps, map[string]any{"capability": c, "state": slices.Contains(m.caps, c)})
	}
	for _, side := range []*qemu{v, to} {
		if err := side.q.do("migrate-set-capabilities", map[string]any{"capabilities": caps}, nil); err != nil {
			return nil, err
		}
	}
	if err := v.q.do("migrate-set-parameters", map[string]any{"max-bandwidth": bandwidth, "downtime-limit": maxDowntime.Milliseconds()}, nil); err != nil {
		return nil, err
	}
	if err := to.q.do("migrate-incoming", map[string]any{"uri": addr}, nil); err != nil {
		return nil, err
	}
	if err := v.q.do("migrate", map[string]any{"uri": addr}, nil); err != nil {
		return nil, err
	}
	return v.watch(ctx, m, limit)
}

// runs waits until a destination runs its guest: the source may be done while what it
// sent is still to be read.
func (v *qemu) runs(ctx context.Context) error {
	late, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		var is struct {
			Running bool `json:"running"`
		}
		if err := v.q.do("query-status", nil, &is); err != nil {
			return fmt.Errorf("the guest did not arrive: %w", err)
		}
		if is.Running {
			return nil
		}
		select {
		case <-late.Done():
			return fmt.Errorf("the guest arrived and does not run: %w", late.Err())
		case <-time.After(2 * time.Millisecond): // QEMU has no way to wait
		}
	}
}

// freePort is an address that nobody listens at.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// watch waits for the end, or gives up at the limit.
func (v *qemu) watch(ctx context.Context, m qemuMode, limit time.Duration) (*Result, error) {
	start, later := time.Now(), m.later
	for {
		var i info
		if err := v.q.do("query-migrate", nil, &i); err != nil {
			return nil, err
		}
		switch {
		case i.Status == "completed":
			return &Result{TotalNS: i.Total * 1e6, DowntimeNS: i.Downtime * 1e6, Bytes: i.RAM.Transferred, Passes: int(i.RAM.Syncs), Done: true}, nil
		case i.Status == "failed":
			return nil, fmt.Errorf("qemu: migrate: %s", i.Error)
		case i.Status == "active" && later != "" && i.RAM.Syncs > 1:
			if err := v.q.do(later, nil, nil); err != nil {
				return nil, err
			}
			later = ""
		case time.Since(start) > limit:
			return &Result{TotalNS: int64(limit), Bytes: i.RAM.Transferred, Passes: int(i.RAM.Syncs)}, v.cancel(ctx)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(2 * time.Millisecond): // QEMU has no way to wait
		}
	}
}

// cancel ends a migration that does not end.
func (v *qemu) cancel(ctx context.Context) error {
	if err := v.q.do("migrate_cancel", nil, nil); err != nil {
		return err
	}
	for {
		var i info
		if err := v.q.do("query-migrate", nil, &i); err != nil {
			return err
		}
		if i.Status == "cancelled" {
			return errNever
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}
