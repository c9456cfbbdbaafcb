package process

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// What happens at a step of a process's work on its snapshots.
const (
	room = "room" // nothing, but no more bytes are free than the step's number
	kill = "kill" // the process, as by kill -9
	full = "full" // what is written from there on finds no room
	eio  = "eio"  // that one step fails
)

// faults is the host's files, until the file that plan names says otherwise: what
// happens, and at which step from then on.
type faults struct {
	tree.Host
	plan string

	mu    sync.Mutex
	last  string // plan; guarded by mu
	steps int    // guarded by mu; since there is this plan
}

// step counts one, which writes or not.
func (f *faults) step(writes bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := os.ReadFile(f.plan)
	if err != nil {
		f.steps = 0
		return nil //nolint:nilerr // there is no plan
	}
	var what string
	var at int
	if _, err := fmt.Sscan(string(b), &what, &at); err != nil {
		return err
	}
	if f.last != string(b) {
		f.last, f.steps = string(b), 0
	}
	f.steps++
	switch {
	case what == kill && f.steps == at:
		p, err := os.FindProcess(os.Getpid())
		if err == nil {
			err = p.Kill()
		}
		if err != nil {
			return err
		}
		select {} // it takes the system a moment
	case what == full && f.steps >= at && writes:
		return syscall.ENOSPC
	case what == eio && f.steps == at:
		return syscall.EIO
	}
	return nil
}

// Free is what is free.
func (f *faults) Free(dir string) (uint64, error) {
	if b, err := os.ReadFile(f.plan); err == nil {
		var what string
		var n uint64
		if _, err := fmt.Sscan(string(b), &what, &n); err != nil || what == room {
			return n, err
		}
	}
	return f.Host.Free(dir)
}

func (f *faults) Create(path string) (snapshot.WriteFile, error) {
	if err := f.step(true); err != nil {
		return nil, err
	}
	w, err := f.Host.Create(path)
	return &file{w, f}, err
}

func (f *faults) Rename(from, to string) error {
	if err := f.step(false); err != nil {
		return err
	}
	return f.Host.Rename(from, to)
}

func (f *faults) Remove(path string) error {
	if err := f.step(false); err != nil {
		return err
	}
	return f.Host.Remove(path)
}

func (f *faults) SyncDir(path string) error {
	if err := f.step(false); err != nil {
		return err
	}
	return f.Host.SyncDir(path)
}

type file struct {
	snapshot.WriteFile
	f *faults
}

// Write writes half of what it should where it fails.
func (w *file) Write(b []byte) (int, error) {
	if err := w.f.step(true); err != nil {
		n, _ := w.WriteFile.Write(b[:len(b)/2]) // it fails anyway
		return n, err
	}
	return w.WriteFile.Write(b)
}

func (w *file) Sync() error {
	if err := w.f.step(true); err != nil {
		return err
	}
	return w.WriteFile.Sync()
}
