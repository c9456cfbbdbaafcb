package disk

import (
	"errors"
	"fmt"
	"os"
)

// CreateOptions describe a new image.
type CreateOptions struct {
	Format        string // raw where empty
	Size          int64  // bytes; 0 takes the backing image's
	ClusterSize   int64  // qcow2: bytes, 64 KiB where 0
	Version       int    // qcow2: 2 or 3, 3 where 0
	Backing       string // qcow2: as it is to be stored, relative to the new image's folder
	BackingFormat string // probed where empty
	Overwrite     bool
	FS            FS
}

// Create makes an empty image. It appears under its name once it is complete.
func Create(path string, o CreateOptions) error {
	return build(path, o, func(Image) error { return nil })
}

// build makes an image, has it filled, and gives it its name.
func build(path string, o CreateOptions, fill func(Image) error) (err error) {
	fs := Options{FS: o.FS}.fs()
	if err := o.complete(path); err != nil {
		return err
	}
	if !o.Overwrite {
		if f, err := fs.Open(path, false); err == nil {
			f.Close()
			return fmt.Errorf("image %s: %w", path, os.ErrExist)
		}
	}
	unlock := func() {}
	if o.Overwrite {
		if f, err := fs.Open(path, false); err == nil {
			f.Close()
			if unlock, err = lock(fs, path); err != nil {
				return err
			}
		}
	}
	defer func() { unlock() }()
	part := path + ".part"
	f, err := createPart(fs, part)
	if err != nil {
		return err
	}
	img, err := format(f, path, o)
	if err == nil {
		err = errors.Join(fill(img), img.Close())
	} else {
		f.Close()
	}
	if err == nil {
		err = fs.Rename(part, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make image %s: %w", path, err), fs.Remove(part))
	}
	return nil
}

// createPart makes the file that becomes the image. What somebody left there who
// was stopped halfway goes.
func createPart(fs FS, part string) (File, error) {
	f, err := fs.Create(part)
	if errors.Is(err, os.ErrExist) {
		unlock, err := lock(fs, part)
		if err != nil {
			return nil, err
		}
		err = fs.Remove(part)
		unlock()
		if err != nil {
			return nil, err
		}
		if f, err = fs.Create(part); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	unlock, err := lock(fs, part)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &lockedFile{File: f, unlock: unlock}, nil
}

// complete fills in what was left out and checks the rest.
func (o *CreateOptions) complete(path string) error {
	if o.Format == "" {
		o.Format = Raw
	}
	if o.Format != Raw && o.Format != Qcow2 {
		return fmt.Errorf("format %q: %w", o.Format, ErrUnsupported)
	}
	if o.ClusterSize == 0 {
		o.ClusterSize = 1 << 16
	}
	if o.Version == 0 {
		o.Version = 3
	}
	if o.Version != 2 && o.Version != 3 {
		return fmt.Errorf("qcow2 version %d, known are 2 and 3: %w", o.Version, ErrUnsupported)
	}
	if c := o.ClusterSize; c < 512 || c > 2<<20 || c&(c-1) != 0 {
		return fmt.Errorf("cluster size %d, must be a power of two from 512 to %d", c, 2<<20)
	}
	if o.Backing == "" {
		return o.checkSize()
	}
	if o.Format == Raw {
		return fmt.Errorf("raw images cannot have a backing file: %w", ErrUnsupported)
	}
	// What goes after the header must fit its cluster.
	if n := len(o.Backing); n > maxBacking || int64(n) > o.ClusterSize-headerV3-32 {
		return fmt.Errorf("backing file name of %d bytes, at most %d", n, min(maxBacking, o.ClusterSize-headerV3-32))
	}
	name, err := backingPath(path, o.Backing)
	if err != nil {
		return err
	}
	back, err := open(name, Options{Format: o.BackingFormat, ReadOnly: true, FS: o.FS, depth: 1})
	if err != nil {
		return fmt.Errorf("backing file: %w", err)
	}
	if o.Size == 0 {
		o.Size = back.Size()
	}
	// Stored, so that nobody needs to guess what a guest may have forged.
	var i Info
	back.info(&i)
	o.BackingFormat = i.Format
	return errors.Join(o.checkSize(), back.Close())
}

func (o *CreateOptions) checkSize() error {
	if o.Size < 0 || o.Size > 1<<62 {
		return fmt.Errorf("size of %d bytes, must be 0 to 2^62", o.Size)
	}
	o.Size = sectors(o.Size)
	return nil
}

// format writes an empty image to a new file.
func format(f File, path string, o CreateOptions) (image, error) {
	if o.Format == Raw {
		if err := f.Truncate(o.Size); err != nil {
			return nil, err
		}
		return openRaw(f, false, false)
	}
	q, err := formatQcow2(f, o)
	if err != nil || o.Backing == "" {
		return q, err
	}
	return q, q.openBacking(path, Options{FS: o.FS})
}

// formatQcow2 makes an image of three clusters, header, refcount table and
// refcount block, for a disk of no size, and then lets it grow.
func formatQcow2(f File, o CreateOptions) (*qcow2, error) {
	h := &header{
		version: o.Version, refOrder: 4, refClusters: 1, refOff: o.ClusterSize,
		backing: o.Backing, backingFmt: o.BackingFormat,
	}
	for h.clusterBits = 9; h.cluster() < o.ClusterSize; h.clusterBits++ {
	}
	if n := h.l1For(o.Size); o.Size > 0 && n > maxL1/8 {
		return nil, fmt.Errorf("size of %d bytes needs an l1 table of %d entries, at most %d: use larger clusters", o.Size, n, maxL1/8)
	}
	b := append(h.encode(), make([]byte, 2*o.ClusterSize)...)
	be.PutUint64(b[o.ClusterSize:], uint64(2*o.ClusterSize))
	for i := range int64(3) {
		be.PutUint16(b[2*o.ClusterSize+i*2:], 1)
	}
	if err := writeAll(f, b, 0); err != nil {
		return nil, err
	}
	q := &qcow2{f: f, h: h, l2: newCache(h.cluster())}
	if err := q.loadRefs(); err != nil {
		return nil, err
	}
	return q, q.resize(o.Size)
}

// resize grows or shrinks the disk. What it grows by reads as zeros.
func (q *qcow2) resize(size int64) error {
	if q.h.snapshots > 0 && (q.h.version < 3 || size < q.h.size) {
		return fmt.Errorf("resize an image with snapshots: %w", ErrUnsupported)
	}
	old := q.h.size
	need := max(1, q.h.l1For(size))
	if need > maxL1/8 {
		return fmt.Errorf("size of %d bytes needs an l1 table of %d entries, at most %d", size, need, maxL1/8)
	}
	if err := q.flush(); err != nil {
		return err
	}
	if int(need) > len(q.l1) {
		if err := q.moveL1(int(need)); err != nil {
			return err
		}
	}
	if q.backing != nil {
		q.back = min(q.backing.Size(), max(size, old))
	}
	if size > old { // first, lest a crash shows what the backing image has there
		if err := q.zero(old, size-old, true); err != nil {
			return err
		}
		if err := q.flush(); err != nil {
			return err
		}
	}
	if err := q.setSize(size); err != nil || size >= old {
		return err
	}
	c := q.h.cluster()
	for off := (size + c - 1) &^ (c - 1); off < old; {
		e, err := q.lookup(off, old-off)
		if err != nil {
			return err
		}
		if e.entry != 0 {
			e.n = min(e.n, c)
			if err := q.setEntry(off, 0); err != nil {
				return err
			}
		}
		off += e.n
	}
	return q.flush()
}

func (q *qcow2) setSize(size int64) error {
	if err := q.setBits(hSize, uint64(size)); err != nil {
		return err
	}
	q.h.size = size
	if q.backing != nil {
		q.back = min(q.backing.Size(), size)
	}
	return nil
}

// moveL1 puts the L1 table where there is room for n entries.
func (q *qcow2) moveL1(n int) error {
	l1 := make([]uint64, n)
	copy(l1, q.l1)
	b := make([]byte, sectors(int64(n*8)))
	for i, v := range l1 {
		be.PutUint64(b[i*8:], v)
	}
	clusters := (int64(len(b)) + q.h.cluster() - 1) >> q.h.clusterBits
	at, err := q.grow(clusters)
	if err != nil {
		return err
	}
	b = append(b, make([]byte, clusters<<q.h.clusterBits-int64(len(b)))...)
	if err := writeAll(q.f, b, at); err != nil {
		q.release(at, clusters<<q.h.clusterBits)
		return err
	}
	if err := q.flushRefs(); err != nil {
		return err
	}
	if err := q.f.Sync(); err != nil {
		return err
	}
	field := make([]byte, 12) // size and place, in one write within a sector
	be.PutUint32(field, uint32(n))
	be.PutUint64(field[4:], uint64(at))
	if err := writeAll(q.f, field, hL1Size); err != nil {
		return err
	}
	if len(q.l1) > 0 {
		q.release(q.h.l1Off, int64(len(q.l1))*8)
	}
	q.l1, q.h.l1Off, q.h.l1Size = l1, at, n
	return q.flush()
}
