package control

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"godwit/backend/disk"
	"godwit/internal/host"
	"godwit/machine"
)

// CopiedDisk is the file with what a disk held when its machine was copied to a file.
func CopiedDisk(file, id string) string { return besideName(file, id) }

// forks are copies of a machine's disks.
type forks []*disk.Fork

// forkDisks prepares copies of the disks that are written. After an error what it returns
// is to be dropped.
func (r *Runner) forkDisks(file string) (fs forks, err error) {
	var needs uint64
	for i, c := range r.m.Config().Disks {
		f, err := r.drives[i].PrepareFork(CopiedDisk(file, c.ID))
		if err != nil {
			return fs, err
		}
		n, err := f.Size()
		if fs, needs = append(fs, f), needs+n; err != nil {
			return fs, err
		}
	}
	dir := filepath.Dir(file)
	if free, err := host.Free(dir); err == nil && free < needs {
		return fs, Fail("resource", "cannot copy the disks to "+dir, fmt.Sprintf("they take about %s, %s is free", SizeText(needs), SizeText(free)),
			"TMPDIR=DIRECTORY  on a larger file system")
	}
	return fs, nil
}

// drop lets go of copies that were not begun.
func (fs forks) drop() error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// copy completes them all.
func (fs forks) copy(ctx context.Context) error {
	var errs []error
	for _, f := range fs {
		errs = append(errs, f.Copy(ctx))
	}
	return errors.Join(errs...)
}

// shootForked takes a shot of the machine, and makes that the moment of its disks' copies.
func (r *Runner) shootForked(ctx context.Context, fs forks) (*machine.Shot, error) {
	if err := r.whole(ctx); err != nil {
		return nil, err
	}
	// What the host has done reaches the guest now, where that waits for no particular
	// time: whoever has the copy need not know how long it took.
	for more := len(fs) > 0; more; more = r.m.Arrivals() {
		if err := r.m.Quiesce(ctx); err != nil {
			return nil, err
		}
	}
	shot, err := r.m.Shoot(nil, shotPool(r.m.Config().Memory))
	if err != nil {
		return nil, err
	}
	for _, f := range fs {
		f.Begin()
	}
	return shot, nil
}
