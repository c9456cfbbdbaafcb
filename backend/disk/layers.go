package disk

import (
	"context"
	"path/filepath"
	"slices"
)

// A drive whose layers are kept by snapshots goes on in ever more files. These put it
// over fewer while requests go on: what it reads as never changes.

// Rebase puts the file that takes what is written over another one than so far, as the
// function Rebase does. Only one goroutine may be changing the drive's layers.
func (d *Drive) Rebase(ctx context.Context, backing, format string, p Progress) error {
	return d.img.(*qcow2).rebase(ctx, d.path, RebaseOptions{Backing: backing, BackingFormat: format, FS: d.fs}, p)
}

// Renew opens anew what the drive's file is over, which somebody has put over another
// file.
func (d *Drive) Renew() error {
	q, ok := d.img.(*qcow2)
	if !ok || q.backing == nil {
		return nil
	}
	name, err := backingPath(d.path, q.h.backing)
	if err != nil {
		return err
	}
	img, err := open(name, Options{Format: q.h.backingFmt, ReadOnly: true, FS: d.fs, depth: 1})
	if err != nil {
		return err
	}
	q.mu.Lock()
	old := q.backing
	q.setBacking(img)
	q.mu.Unlock()
	return old.Close()
}

// Holds tells whether the drive has the lock of a file.
func (d *Drive) Holds(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lockOf(path) >= 0
}

func (d *Drive) lockOf(path string) int {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return -1
	}
	return slices.IndexFunc(d.locks, func(l Lock) bool { return l.Path() == real })
}

// Drop lets go of the lock of a layer that the drive is over no more.
func (d *Drive) Drop(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := d.lockOf(path); i >= 0 && i < len(d.locks)-1 {
		d.locks[i].Release()
		d.locks = slices.Delete(d.locks, i, i+1)
	}
}
