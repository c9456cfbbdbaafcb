package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// RebaseOptions say what an image is to be over.
type RebaseOptions struct {
	Backing       string // as in CreateOptions; empty: nothing, the image then holds everything
	BackingFormat string // probed where empty
	// Unsafe changes the name alone: what the image reads as is the caller's affair.
	Unsafe bool
	// Owner is who has the image, in whose name it is locked: its epoch stays, as its
	// content does. Empty: nobody.
	Owner string
	// Mine tells which images' locks the caller holds, and that it writes to none but the
	// image itself; nil: to none.
	Mine func(path string) bool
	FS   FS
}

// Rebase puts an image over another one than so far. It takes over what it would read
// differently, and reads the same before, after, and wherever it is stopped; then it
// can be run again. Nobody may be writing to what it is over.
func Rebase(ctx context.Context, path string, o RebaseOptions, p Progress) error {
	if len(o.Backing) > maxBacking {
		return fmt.Errorf("backing file name of %d bytes, at most %d", len(o.Backing), maxBacking)
	}
	fs := Options{FS: o.FS}.fs()
	if o.Mine == nil {
		o.Mine = func(string) bool { return false }
	}
	if !o.Mine(path) {
		l, err := fs.Lock(path, Claim{Name: o.Owner})
		if err != nil {
			return err
		}
		defer l.Release()
	}
	img, err := open(path, Options{FS: o.FS, locked: true, checking: o.Unsafe})
	if err != nil {
		return err
	}
	q, ok := img.(*qcow2)
	if !ok {
		return errors.Join(fmt.Errorf("image %s: raw images cannot have a backing file: %w", path, ErrUnsupported), img.Close())
	}
	if !o.Unsafe {
		err = unused(path, o)
	}
	if err == nil {
		err = q.rebase(ctx, path, o, p)
	}
	return errors.Join(err, img.Close())
}

// unused fails where somebody writes to what an image is over, or is to be over.
func unused(path string, o RebaseOptions) error {
	all, err := Chain(path, Options{FS: o.FS})
	if err != nil {
		return err
	}
	all = all[1:]
	if o.Backing != "" {
		name, err := backingPath(path, o.Backing)
		if err != nil {
			return err
		}
		more, err := Chain(name, Options{Format: o.BackingFormat, FS: o.FS})
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	return unlocked(slices.DeleteFunc(all, func(f string) bool {
		return o.Mine(f) || samePath(f, path) // the latter is refused for what it is
	}))
}

// rebase is Rebase of an open image, which others may use meanwhile.
func (q *qcow2) rebase(ctx context.Context, path string, o RebaseOptions, p Progress) error {
	if q.h.snapshots > 0 && !o.Unsafe {
		return fmt.Errorf("rebase an image with internal snapshots, which would read differently: %w", ErrUnsupported)
	}
	var to Image
	depth := -1
	if o.Backing != "" {
		name, err := backingPath(path, o.Backing)
		if err == nil {
			to, depth, err = q.target(path, name, &o)
		}
		if err != nil {
			return fmt.Errorf("backing file: %w", err)
		}
	}
	err := ctx.Err()
	if err == nil && !o.Unsafe && depth != 0 {
		err = q.absorb(ctx, to, depth, p)
	}
	if err == nil {
		err = q.put(to, o.Backing, o.BackingFormat)
	}
	if err != nil && to != nil {
		err = errors.Join(err, to.Close())
	}
	return err
}

// target opens what an image is to be over, unless only its name is to change. depth is
// how many images of the present chain lie above it; -1: it is not one of them.
func (q *qcow2) target(path, name string, o *RebaseOptions) (to Image, depth int, err error) {
	list, err := Chain(name, Options{Format: o.BackingFormat, FS: o.FS})
	if err != nil {
		if o.Unsafe && o.BackingFormat != "" && errors.Is(err, os.ErrNotExist) {
			return nil, -1, nil // it may come later
		}
		return nil, -1, err
	}
	for _, f := range list {
		if samePath(f, path) {
			return nil, -1, fmt.Errorf("%s is over %s itself: %w", name, path, ErrCorrupt)
		}
	}
	img, err := open(name, Options{Format: o.BackingFormat, ReadOnly: true, FS: o.FS, depth: 1})
	if err != nil {
		return nil, -1, err
	}
	var i Info
	img.info(&i)
	o.BackingFormat = i.Format // stored, so that nobody needs to guess what a guest may have forged
	if o.Unsafe {
		return nil, -1, img.Close()
	}
	above, err := Chain(path, Options{Format: Qcow2, FS: o.FS})
	if err != nil {
		return nil, -1, errors.Join(err, img.Close())
	}
	for depth, f := range above[1:] {
		if samePath(f, name) {
			return img, depth, nil
		}
	}
	return img, -1, nil
}

// absorbStep is for how many bytes others wait at most, while an image takes over.
const absorbStep = 256 << 10

// absorb has the image hold itself what it would read differently over another one,
// which may be nil. depth is as target tells.
func (q *qcow2) absorb(ctx context.Context, to Image, depth int, p Progress) error {
	above := layersAbove(q.backing, depth)
	have, want := make([]byte, q.h.cluster()), make([]byte, q.h.cluster())
	for off, size := int64(0), q.Size(); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(size-off, absorbStep-off%absorbStep)
		if q.h.cluster() > absorbStep {
			n = min(size-off, q.h.cluster())
		}
		n, err := q.absorbSome(to, above, off, n, have, want)
		if err != nil {
			return err
		}
		off += n
		if p != nil {
			p(off, size)
		}
	}
	return nil
}

// layersAbove lists the images of a chain above the one at a depth; nil: not known.
func layersAbove(img Image, depth int) (list []*qcow2) {
	for range depth {
		q := plain(img)
		if q == nil {
			return nil
		}
		list, img = append(list, q), q.backing
	}
	return list
}

// absorbSome looks at one stretch that is all the same, from a cluster's start on, of at
// most n bytes, and returns its length.
func (q *qcow2) absorbSome(to Image, above []*qcow2, off, n int64, have, want []byte) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, err := q.lookup(off, n)
	if err != nil || e.kind != Hole {
		return e.n, err
	}
	held := len(above) == 0 || to == nil
	if !held {
		if held, e.n, err = anyHolds(above, off, e.n); err != nil {
			return 0, err
		}
		if e.n = e.n &^ (q.h.cluster() - 1); !held && e.n > 0 {
			return e.n, nil // it is the other one's so far, too
		}
	}
	n = min(n, q.h.cluster())
	have, want = have[:n], want[:n]
	if err := q.readBacking(have, off); err != nil {
		return 0, err
	}
	clear(want)
	if to != nil {
		if k := min(n, to.Size()-off); k > 0 {
			if err := to.ReadAt(want[:k], off); err != nil {
				return 0, err
			}
		}
	}
	if bytes.Equal(have, want) {
		return n, nil
	}
	if allZero(have) && q.h.version >= 3 {
		err = q.setEntry(off, flagZero)
	} else {
		err = q.replace(have, off)
	}
	if err == nil && len(q.refs.released) > maxReleased {
		err = q.flushMeta()
	}
	return n, err
}

// anyHolds tells whether one of some layers hides what is below it at off, and for how
// many bytes that is so.
func anyHolds(list []*qcow2, off, n int64) (bool, int64, error) {
	for _, l := range list {
		left := l.Size() - off
		if left <= 0 {
			return true, n, nil // zeros
		}
		kind, k, err := l.Extent(off, min(n, left))
		if err != nil || kind != Hole {
			return true, k, err
		}
		n = k
	}
	return false, n, nil
}

// put has the image be over another one, which reads the same there. to is nil where
// nothing is to be read from it.
func (q *qcow2) put(to Image, name, format string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.flush(); err != nil {
		return err
	}
	if err := q.rename(name, format); err != nil {
		return err
	}
	old := q.backing
	if q.backing, q.back = nil, 0; to != nil {
		q.setBacking(to)
	}
	if old != nil {
		return old.Close()
	}
	return nil
}
