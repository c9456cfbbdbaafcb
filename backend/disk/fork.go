package disk

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A fork is what a disk held at one moment, in files that nobody else writes to, while
// the drive goes on as before: each block is copied behind its back, or just before it is
// written for the first time.

// Fork is a copy of a drive under way.
type Fork struct {
	d     *Drive
	img   Image // the drive's then
	out   Image // nil: nothing is to be copied
	above bool

	mu   sync.Mutex
	todo []uint64 // blocks that were not copied
	have []uint64 // blocks that were found to hold something
	err  error    // why it has come to nothing
}

// PrepareFork makes the file of a fork, over the image at the bottom of the drive's chain
// if nobody writes to that. Nothing is copied yet. Of a disk that is only read it makes none.
func (d *Drive) PrepareFork(path string) (*Fork, error) {
	f := &Fork{d: d}
	if d.ro {
		return f, nil
	}
	base, format, err := Bottom(d.Path(), Options{Format: d.Format(), FS: d.fs})
	if err != nil {
		return nil, err
	}
	o := CreateOptions{Format: Qcow2, Size: d.size}
	if f.above = base != d.Path(); f.above {
		o.Backing, o.BackingFormat = base, format
	}
	if err := Create(path, o); err != nil {
		return nil, err
	}
	f.out, err = Open(path, Options{Format: Qcow2})
	if err != nil {
		err = errors.Join(err, Remove(path))
	}
	return f, err
}

// Begin makes this the moment: what was asked of the drive so far must be done, and is in
// the fork; what comes after is not. It reads nothing.
func (f *Fork) Begin() {
	if f.out == nil {
		return
	}
	d := f.d
	d.mu.Lock()
	defer d.mu.Unlock()
	f.img, f.todo, f.have = d.img, newBlocks(d.size), newBlocks(d.size)
	for b := int64(0); b*TrackBlock < d.size; b++ {
		f.todo[b/64] |= 1 << (b % 64)
	}
	d.fork = f
}

// Copy copies what there is, and returns once the fork is complete, or cannot be. The
// drive is used meanwhile; what fails here does not fail there.
func (f *Fork) Copy(ctx context.Context) error {
	if f.out == nil {
		return nil
	}
	buf := make([]byte, TrackBlock)
	for b := int64(0); b*TrackBlock < f.d.size && ctx.Err() == nil && f.failed() == nil; b++ {
		f.keep(b, b, buf)
	}
	return errors.Join(ctx.Err(), f.Close())
}

// Close ends a fork, complete or not.
func (f *Fork) Close() error {
	if f.out == nil {
		return nil
	}
	f.d.mu.Lock()
	if f.d.fork == f {
		f.d.fork = nil
	}
	f.d.mu.Unlock()
	f.mu.Lock() // a write may be copying still
	defer f.mu.Unlock()
	err := errors.Join(f.err, f.out.Close())
	f.todo, f.out = nil, nil
	return err
}

// Size is about how many bytes it takes.
func (f *Fork) Size() (uint64, error) {
	if f.out == nil || f.above {
		return 0, nil // little, as overlays are
	}
	return f.d.CopySize()
}

func (f *Fork) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// spare copies what a request is about to write to.
func (f *Fork) spare(off, n int64) {
	if f != nil && n > 0 {
		f.keep(off/TrackBlock, (off+n-1)/TrackBlock, make([]byte, TrackBlock))
	}
}

// keep copies blocks that were not yet.
func (f *Fork) keep(first, last int64, buf []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for b := first; b <= last && f.err == nil && f.todo != nil; b++ {
		if f.todo[b/64]>>(b%64)&1 == 0 {
			continue
		}
		f.todo[b/64] &^= 1 << (b % 64)
		if err := f.block(b, buf); err != nil {
			f.err = fmt.Errorf("copy image %s: %w", f.d.path, err)
		}
	}
}

// block copies one, if it holds anything that is not below anyway.
func (f *Fork) block(b int64, buf []byte) error {
	off := b * TrackBlock
	p := buf[:min(TrackBlock, f.d.size-off)]
	if err := present(f.img, off, int64(len(p)), f.above, f.have); err != nil {
		return err
	}
	if f.have[b/64]>>(b%64)&1 == 0 {
		return nil
	}
	if err := f.img.ReadAt(p, off); err != nil {
		return err
	}
	if allZero(p) {
		return f.out.WriteZeroes(off, int64(len(p)), true)
	}
	return f.out.WriteAt(p, off)
}
