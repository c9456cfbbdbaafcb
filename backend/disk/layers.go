package disk

import (
	"context"
	"path/filepath"
	"slices"
)

// A drive whose layers are kept by snapshots goes on in ever more files. These put it
// over fewer while requests go on: what it reads as never changes.

// Rebase puts a file of the drive's chain over another one than so far, as the function
// Rebase does. It tells whether the file is one of the chain. Only one goroutine may be
// changing the drive's layers.
func (d *Drive) Rebase(ctx context.Context, path string, o RebaseOptions) (ours bool, err error) {
	q := plain(d.img)
	if o.FS = d.fs; q != nil && samePath(d.path, path) {
		return true, q.rebase(ctx, d.path, o, nil)
	}
	for at := d.path; q != nil && q.backing != nil; {
		name, err := backingPath(at, q.h.backing)
		if err != nil {
			return false, err
		}
		if samePath(name, path) {
			return true, d.rebaseBelow(ctx, q, name, o)
		}
		q, at = plain(q.backing), name
	}
	return false, nil
}

// rebaseBelow is Rebase of what an image of the chain is over.
func (d *Drive) rebaseBelow(ctx context.Context, q *qcow2, path string, o RebaseOptions) error {
	if !d.Holds(path) {
		l, err := d.fs.Lock(path, Claim{Name: o.Owner})
		if err != nil {
			return err
		}
		defer l.Release()
	}
	old := plain(q.backing)
	if old.readonly { // it is read through one that can be written, from now on
		img, err := Open(path, Options{Format: Qcow2, FS: d.fs, locked: true, backing: old.backing})
		if err != nil {
			return err
		}
		q.mu.Lock()
		q.setBacking(ReadOnly(img))
		q.mu.Unlock()
		if err := old.f.Close(); err != nil { // not what is below
			return err
		}
	}
	return plain(q.backing).rebase(ctx, path, o, nil)
}

// plain is a qcow2 image of a chain; nil: it is another kind.
func plain(i Image) *qcow2 {
	if r, ok := i.(readOnly); ok {
		i = r.Image
	}
	q, _ := i.(*qcow2)
	return q
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
