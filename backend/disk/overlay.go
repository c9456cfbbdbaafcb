package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// readOnly hides an image's writes.
type readOnly struct{ Image }

// ReadOnly returns an image that refuses to be written. Closing it closes i.
func ReadOnly(i Image) Image { return readOnly{i} }

func (readOnly) WriteAt([]byte, int64) error          { return ErrReadOnly }
func (readOnly) Discard(int64, int64) error           { return ErrReadOnly }
func (readOnly) WriteZeroes(int64, int64, bool) error { return ErrReadOnly }
func (readOnly) Flush() error                         { return nil }

// Overlay returns a private copy-on-write image over base, which is not written.
// What is written goes to a file in dir, the host's folder for such where dir
// is empty, that is gone once the image is closed. Closing closes base.
func Overlay(base Image, dir string) (Image, error) {
	t, err := os.CreateTemp(dir, "godwit-overlay-*.qcow2")
	if err != nil {
		return nil, err
	}
	f := &hostFile{File: t}
	remove := func() { os.Remove(t.Name()) }
	q, err := formatQcow2(f, CreateOptions{Size: base.Size(), ClusterSize: 1 << 16, Version: 3})
	if err != nil {
		f.Close()
		remove()
		return nil, fmt.Errorf("overlay: %w", err)
	}
	q.f = &lockedFile{File: f, unlock: remove}
	q.setBacking(base)
	return q, nil
}

// Freeze opens an overlay file over base, which nobody should write from now
// on, and makes it first where there is none. An overlay that is there must be
// over this very base.
func Freeze(base, overlay string, o Options) (Image, error) {
	if err := over(base, overlay, o); err != nil {
		return nil, err
	}
	return Open(overlay, Options{Format: Qcow2, FS: o.FS, locked: o.locked})
}

// over makes an overlay file, or checks the one that is there.
func over(base, overlay string, o Options) error {
	if _, err := os.Stat(overlay); errors.Is(err, os.ErrNotExist) {
		name, err := filepath.Abs(base)
		if err != nil {
			return err
		}
		return Create(overlay, CreateOptions{Format: Qcow2, Backing: name, BackingFormat: o.Format, FS: o.FS})
	}
	i, err := Inspect(overlay, Options{Format: Qcow2, FS: o.FS})
	if err != nil {
		return err
	}
	name, err := backingPath(overlay, i.Backing)
	if err != nil {
		return err
	}
	if !samePath(name, base) {
		return fmt.Errorf("overlay %s is over %q, not over %q", overlay, i.Backing, base)
	}
	return nil
}

func samePath(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
