package bench

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"godwit/backend/disk"
	"godwit/control"
)

// Saved is one snapshot, suspend or resume.
type Saved struct {
	VMM     string `json:"vmm"`
	Guest   string `json:"guest"` // what it does
	Memory  uint64 `json:"memory"`
	What    string `json:"what"`
	PauseNS int64  `json:"pause_ns,omitempty"` // host time that the guest stood still
	TotalNS int64  `json:"total_ns"`           // host time until all is durable, or the guest runs
	FirstNS int64  `json:"first_ns,omitempty"` // host time from opening the file to where the guest goes on: its first instruction, or waiting as before
	Bytes   uint64 `json:"bytes,omitempty"`    // that files grew by
	Pages   uint32 `json:"pages,omitempty"`    // whose content is among them
}

// SavedTable is all of them.
type SavedTable struct {
	QEMU    string  `json:"qemu"` // version, empty where there is none
	Results []Saved `json:"results"`
}

const (
	snapshots = 4       // that are taken of each guest
	diskSize  = 1 << 30 // bytes of the disk that each guest has
)

// idleFor is what lies between two snapshots: an idle guest does something, too.
const idleFor = time.Second

// Snapshot measures snapshots, suspend and resume.
func Snapshot(ctx context.Context, o Options) (*SavedTable, error) {
	dir, err := os.MkdirTemp("", "godwit-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	loads, err := o.loads(dir)
	if err != nil {
		return nil, err
	}
	for _, w := range loads {
		if w.name = "idle"; w.writer > 0 {
			w.name = fmt.Sprintf("writer %d MiB", w.writer)
		}
	}
	var cache string
	if o.Cached > 0 {
		cache = filepath.Join(dir, "programs.raw")
		if err := programs(cache, int64(o.Cached)<<20); err != nil {
			return nil, err
		}
		w := *loads[0]
		w.writer, w.name = 0, fmt.Sprintf("cache %d MiB", o.Cached)
		w.cmdline, w.ready = `console=ttyS0 "godwit.run=cat /dev/vdb >/dev/null" godwit.then=shell`, "# "
		w.disks = []string{"", cache}
		loads = append(loads, &w)
	}
	t := &SavedTable{QEMU: qemuVersion()}
	for i, w := range loads {
		for _, v := range []struct {
			there   bool
			measure func(context.Context, string, *load, *SavedTable) error
		}{{true, o.ourSnapshots}, {t.QEMU != "", o.theirSnapshots}} {
			if !v.there {
				continue
			}
			written := filepath.Join(dir, fmt.Sprintf("disk%d.qcow2", i))
			if err := disk.Create(written, disk.CreateOptions{Format: disk.Qcow2, Size: diskSize, Overwrite: true}); err != nil {
				return t, err
			}
			w.disks = append([]string{written}, w.disks[min(1, len(w.disks)):]...)
			if err := v.measure(ctx, dir, w, t); err != nil {
				return t, err
			}
		}
	}
	return t, o.large(ctx, dir, loads, t)
}

// large measures how soon a guest goes on whose memory is all in its file still.
func (o *Options) large(ctx context.Context, dir string, loads []*load, t *SavedTable) error {
	if o.Large == 0 {
		return nil
	}
	w := *loads[0]
	for _, l := range loads {
		if l.writer > 0 { // one that executes something at once
			w = *l
		}
	}
	w.memory, w.disks = o.Large, nil
	if err := o.ourLarge(ctx, dir, &w, t); err != nil || t.QEMU == "" {
		return err
	}
	return o.theirLarge(ctx, dir, &w, t)
}

// programs makes a file of so many bytes of this host's programs and libraries.
func programs(path string, size int64) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	at := int64(0)
	err = filepath.WalkDir("/usr", func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil //nolint:nilerr // what cannot be read is left out
		}
		f, err := os.Open(p)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		defer f.Close()
		var magic [4]byte
		if _, err := f.ReadAt(magic[:], 0); err != nil || string(magic[:]) != "\x7fELF" {
			return nil //nolint:nilerr // likewise
		}
		n, err := io.Copy(out, io.LimitReader(f, size-at))
		if at += n; err == nil && at == size {
			return fs.SkipAll
		}
		return err
	})
	if err == nil && at < size {
		err = out.Truncate(size &^ 511)
	}
	return err
}

func (t *SavedTable) add(o *Options, s Saved) {
	t.Results = append(t.Results, s)
	o.say("%s", s.line())
}

func (s *Saved) line() string {
	return fmt.Sprintf("%-6s %-14s %5d MiB  %-16s %s", s.VMM, s.Guest, s.Memory>>20, s.What, s.figures())
}

func (s *Saved) figures() string {
	ms := func(ns int64) string {
		if ns == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", float64(ns)/1e6)
	}
	bytes := "-"
	if s.Bytes != 0 {
		bytes = fmt.Sprintf("%.1f", float64(s.Bytes)/1e6)
	}
	pages := "-"
	if s.Pages != 0 {
		pages = fmt.Sprint(s.Pages)
	}
	return fmt.Sprintf("%10s %10s %10s %10s %8s", ms(s.PauseNS), ms(s.TotalNS), ms(s.FirstNS), bytes, pages)
}

// Show prints the table for people.
func (t *SavedTable) Show(w io.Writer) {
	fmt.Fprintf(w, "%-6s %-14s %9s  %-16s %10s %10s %10s %10s %8s\n", "vmm", "guest", "memory", "what", "pause ms", "total ms", "first ms", "MB", "pages")
	for i := range t.Results {
		fmt.Fprintln(w, t.Results[i].line())
	}
}

// grown is how large a file is, in bytes; 0 where there is none.
func grown(path string) uint64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return uint64(fi.Size())
}

// wait waits.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return control.AsError("the measurement was ended", ctx.Err())
	case <-time.After(d):
		return nil
	}
}
