// Package disk is the host's side of block devices: raw and qcow2 images,
// copy-on-write overlays, and the tools to make, look into, convert, check,
// resize, commit and rebase them, in pure Go on any host.
//
// Specification: [QEMU interop/qcow2], versions 2 and 3. Modelled: reading and
// writing with all cluster sizes and refcount widths, backing chains, zero
// clusters, discard, zlib and zstd compressed clusters (read), and internal
// snapshots, whose clusters are never changed. Not modelled, and refused by
// name: encryption, external data files, extended L2 entries (subclusters), and
// whatever features this package does not know. Persistent dirty bitmaps are
// not kept up: opening for writing declares them stale, as the specification
// demands. Internal snapshots can be listed and read, not made, applied or deleted.
//
// What a crash leaves: after any prefix of the writes to the file, or any subset
// of those since the last sync, an image may have leaked clusters, never
// corruption, and all that was flushed reads back.
//
// Bytes of images are hostile: sizes and offsets are bounded, so that opening
// and reading takes bounded memory and cannot panic.
package disk

import (
	"errors"
	"fmt"
	"path/filepath"
)

// SectorSize is the unit of guests' requests, in bytes.
const SectorSize = 512

// Formats of images.
const (
	Raw   = "raw"
	Qcow2 = "qcow2"
)

// Image is an open disk image. Its methods may be called concurrently; calls
// take effect one after another. Offsets and lengths are in bytes.
type Image interface {
	Size() int64
	ReadAt(p []byte, off int64) error
	WriteAt(p []byte, off int64) error
	// Flush returns once all that was written before survives a crash.
	Flush() error
	// Discard gives the range back to the host. It reads as zeros afterwards,
	// all of it and in all formats: what guests see must not depend on the
	// size of clusters.
	Discard(off, n int64) error
	// WriteZeroes makes the range read as zeros, and gives it back if unmap.
	WriteZeroes(off, n int64, unmap bool) error
	// Extent tells what holds the bytes from off on, and for how many bytes
	// this is so: at least 1 and at most n.
	Extent(off, n int64) (Kind, int64, error)
	// Close flushes, unless the image was read only.
	Close() error
}

// Kind is what an image holds for a range of bytes.
type Kind uint8

// Kinds of ranges.
const (
	Hole Kind = iota // nothing: reads from the backing image, or as zeros
	Zero             // known to be zeros
	Data
)

// Sentinels that callers branch on.
var (
	ErrReadOnly    = errors.New("image is read only")
	ErrCorrupt     = errors.New("image is corrupt")
	ErrUnsupported = errors.New("image uses a feature that is not supported")
	ErrRange       = errors.New("access beyond the end of the image")
)

// Options say how to open an image.
type Options struct {
	Format    string // probed where empty
	ReadOnly  bool
	NoBacking bool // refuse images that name a backing file
	// Snapshot is the name or id of an internal snapshot to read; read only.
	Snapshot string
	FS       FS // the host's where nil
	depth    int
	checking bool  // leave the image as it is, and its backing file alone
	locked   bool  // by the caller
	backing  Image // to use in place of the one that the image names
}

func (o Options) fs() FS {
	if o.FS == nil {
		return hostFS{}
	}
	return o.FS
}

// maxChain bounds backing chains, and with that loops in them.
const maxChain = 64

// Open opens an image and what it is backed by. A writer locks the image.
func Open(path string, o Options) (Image, error) {
	return open(path, o)
}

type image interface {
	Image
	info(*Info)
	resize(size int64) error
}

func open(path string, o Options) (img image, err error) {
	if o.depth >= maxChain {
		return nil, fmt.Errorf("image %s: chain of backing files is longer than %d: %w", path, maxChain, ErrCorrupt)
	}
	fs := o.fs()
	unlock := func() {}
	if !o.ReadOnly && !o.locked {
		if unlock, err = lock(fs, path); err != nil {
			return nil, err
		}
	}
	f, err := fs.Open(path, !o.ReadOnly)
	if err != nil {
		unlock()
		return nil, err
	}
	f = &lockedFile{File: f, unlock: unlock}
	if img, err = openFile(f, path, o); err != nil {
		f.Close()
		return nil, fmt.Errorf("image %s: %w", filepath.Base(path), err)
	}
	return img, nil
}

func openFile(f File, path string, o Options) (image, error) {
	if o.Snapshot != "" && !o.ReadOnly {
		return nil, fmt.Errorf("snapshot %q can only be read: %w", o.Snapshot, ErrReadOnly)
	}
	format, probed := o.Format, false
	if format == "" {
		probed = true
		var err error
		if format, err = probe(f); err != nil {
			return nil, err
		}
	}
	switch format {
	case Raw:
		if o.Snapshot != "" {
			return nil, fmt.Errorf("raw images have no snapshot %q: %w", o.Snapshot, ErrUnsupported)
		}
		return openRaw(f, o.ReadOnly, probed)
	case Qcow2:
		return openQcow2(f, path, o)
	}
	return nil, fmt.Errorf("format %q: %w", format, ErrUnsupported)
}

func probe(f File) (string, error) {
	b := make([]byte, 4)
	if err := readZ(f, b, 0); err != nil {
		return "", err
	}
	if string(b) == magic {
		return Qcow2, nil
	}
	return Raw, nil
}

// inside checks a range against the size of an image.
func inside(size, off, n int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("%d bytes at %d, image has %d: %w", n, off, size, ErrRange)
	}
	return nil
}

// sectors rounds a size up to whole sectors.
func sectors(n int64) int64 { return (n + SectorSize - 1) / SectorSize * SectorSize }
