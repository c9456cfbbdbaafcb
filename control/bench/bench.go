// Package bench compares godwit's migrations, snapshots and saved machines with
// QEMU's: the same kernel, initrd and programs, in processes on this machine, one
// after the other.
package bench

import (
	"context"
	_ "embed" // for the writer
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"godwit/control"
	"godwit/guest"
)

// maxDowntime is what both are asked for.
const maxDowntime = 300 * time.Millisecond

//go:embed programs/writer.c
var writerSource []byte

// Options say what to compare.
type Options struct {
	Exe        string        // the program that is the process of a VM
	Guests     string        // folder with vmlinuz and initrd.img
	Memory     uint64        // bytes
	Writers    []int         // MiB, 0 is a guest that does nothing
	Bandwidths []uint64      // of migrations
	Modes      []string      // of godwit's, one after the other
	Alone      bool          // without QEMU
	Limit      time.Duration // of one migration: after that it never ends
	Cached     int           // MiB of programs in the page cache of one more guest whose snapshots are measured; 0: there is none
	Large      uint64        // bytes of the guest that is resumed without its memory
	Say        func(string)  // what goes on; may be nil
}

// Result is one migration.
type Result struct {
	VMM        string  `json:"vmm"`
	Mode       string  `json:"mode"`
	Writer     int     `json:"writer_mib"`
	Bandwidth  uint64  `json:"bandwidth"` // bytes a second; 0: no limit
	Done       bool    `json:"done"`
	TotalNS    int64   `json:"total_ns"`
	DowntimeNS int64   `json:"downtime_ns"`
	FenceNS    int64   `json:"fence_ns,omitempty"` // godwit: durable record of the owner, not in the downtime
	Bytes      uint64  `json:"bytes"`
	Passes     int     `json:"passes"`
	Slowdown   float64 `json:"slowdown,omitempty"`
	Chosen     string  `json:"chosen,omitempty"`
	Faults     uint64  `json:"faults,omitempty"` // post-copy: pages that the guest waited for
	Cuts       int     `json:"cuts,omitempty"`   // connections lost and made again: none should be
	Error      string  `json:"error,omitempty"`  // QEMU failed
}

// Table is all of them.
type Table struct {
	QEMU    string   `json:"qemu"` // version, empty where there is none
	Memory  uint64   `json:"memory"`
	Results []Result `json:"results"`
}

// load is what a guest does.
type load struct {
	writer                  int // MiB
	memory                  uint64
	kernel, initrd, cmdline string
	ready                   string // what it prints once it is at it

	name  string   // of what it does
	disks []string // qcow2 it writes, raw it reads
}

// loads makes the guests.
func (o *Options) loads(dir string) ([]*load, error) {
	kernel, base := filepath.Join(o.Guests, guest.KernelFile), filepath.Join(o.Guests, guest.InitrdFile)
	b, err := os.ReadFile(base)
	if err != nil {
		return nil, control.Fail("not-found", "there is no guest to measure with", err.Error(), "godwit guest debian "+o.Guests)
	}
	program, err := buildWriter(dir)
	if err != nil {
		return nil, err
	}
	if b, err = guest.Extend(b, program); err != nil {
		return nil, err
	}
	initrd := filepath.Join(dir, guest.InitrdFile)
	if err := os.WriteFile(initrd, b, 0o600); err != nil {
		return nil, err
	}
	var out []*load
	for _, mib := range o.Writers {
		w := &load{name: fmt.Sprintf("writer %d MiB", mib), writer: mib, memory: o.Memory, kernel: kernel, initrd: initrd, cmdline: "console=ttyS0 godwit.then=shell", ready: "# "}
		if mib > 0 {
			w.cmdline, w.ready = fmt.Sprintf(`console=ttyS0 "godwit.run=writer %d"`, mib), "writer: pass "
		}
		out = append(out, w)
	}
	return out, nil
}

// buildWriter compiles the program that writes for ever.
func buildWriter(dir string) (string, error) {
	src, exe := filepath.Join(dir, "writer.c"), filepath.Join(dir, "writer")
	if err := os.WriteFile(src, writerSource, 0o600); err != nil {
		return "", err
	}
	out, err := exec.Command("gcc", "-O1", "-static", "-o", exe, src).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", control.Fail("resource", "cannot build the program that writes for ever", "there is no gcc", "apt-get install gcc")
	}
	if err != nil {
		return "", fmt.Errorf("gcc: %w: %s", err, out)
	}
	return exe, nil
}

func (o *Options) say(format string, args ...any) {
	if o.Say != nil {
		o.Say(fmt.Sprintf(format, args...))
	}
}

// Migrate measures.
func Migrate(ctx context.Context, o Options) (*Table, error) {
	dir, err := os.MkdirTemp("", "godwit-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	loads, err := o.loads(dir)
	if err != nil {
		return nil, err
	}
	t := &Table{Memory: o.Memory, QEMU: qemuVersion()}
	for _, w := range loads {
		if err := o.ours(ctx, dir, w, t); err != nil {
			return t, err
		}
		if t.QEMU != "" && !o.Alone {
			if err := o.theirs(ctx, dir, w, t); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

// qemuVersion is empty where QEMU is not installed.
func qemuVersion() string {
	out, err := exec.Command("qemu-system-x86_64", "--version").Output()
	var v string
	if err != nil {
		return ""
	}
	_, _ = fmt.Sscanf(string(out), "QEMU emulator version %s", &v)
	return v
}

// bootTime bounds how long a guest may take to be at its work.
const bootTime = 10 * time.Minute

// theirs measures QEMU. A guest that has moved is the next one's source.
func (o *Options) theirs(ctx context.Context, dir string, w *load, t *Table) error {
	v, err := o.bootQEMU(ctx, dir, w, fmt.Sprintf("qemu-%d", w.writer))
	if err != nil {
		return err
	}
	defer func() { v.stop() }()
	n := 0
	for _, bw := range o.Bandwidths {
		for _, m := range qemuModes {
			n++
			next, r, err := v.move(ctx, dir, w, m, bw, o.Limit, w.writer*100+n)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && !errors.Is(err, errNever):
				r = &Result{Error: err.Error()}
				v.stop()
				if next, err = o.bootQEMU(ctx, dir, w, fmt.Sprintf("qemu-%d-%d", w.writer, n)); err != nil {
					return err
				}
				v = next
			case next != nil:
				v = next
			}
			r.VMM, r.Mode, r.Writer, r.Bandwidth = "qemu", m.name, w.writer, bw
			t.Results = append(t.Results, *r)
			o.say("qemu: %s", r.line())
		}
	}
	return nil
}

func (r *Result) line() string {
	if r.Error != "" {
		return fmt.Sprintf("%-14s writer %3d MiB, %-11s  failed: %s", r.Mode, r.Writer, rate(r.Bandwidth), r.Error)
	}
	if !r.Done {
		return fmt.Sprintf("%-14s writer %3d MiB, %-11s  never ended: %.1f s, %d passes, %s sent", r.Mode, r.Writer, rate(r.Bandwidth), float64(r.TotalNS)/1e9, r.Passes, size(r.Bytes))
	}
	return fmt.Sprintf("%-14s writer %3d MiB, %-11s  %7.1f ms, downtime %6.1f ms, %s", r.Mode, r.Writer, rate(r.Bandwidth), float64(r.TotalNS)/1e6, float64(r.DowntimeNS)/1e6, size(r.Bytes))
}

func rate(b uint64) string {
	if b == 0 {
		return "unlimited"
	}
	return fmt.Sprintf("%d MiB/s", b>>20)
}

func size(b uint64) string { return fmt.Sprintf("%.1f MB", float64(b)/1e6) }

// Show prints the table for people.
func (t *Table) Show(w io.Writer) {
	fmt.Fprintf(w, "%-8s %-14s %-10s %-10s %12s %12s %12s\n", "vmm", "mode", "writer", "link", "total ms", "downtime ms", "MB sent")
	for i := range t.Results {
		r := &t.Results[i]
		total, down := fmt.Sprintf("%.1f", float64(r.TotalNS)/1e6), fmt.Sprintf("%.1f", float64(r.DowntimeNS)/1e6)
		switch {
		case r.Error != "":
			total, down = "failed", "-"
		case !r.Done:
			total, down = "never", "-"
		}
		fmt.Fprintf(w, "%-8s %-14s %-10s %-10s %12s %12s %12.1f\n", r.VMM, r.Mode, fmt.Sprintf("%d MiB", r.Writer), rate(r.Bandwidth), total, down, float64(r.Bytes)/1e6)
	}
}
