package disk

import (
	"context"
	"errors"
	"fmt"
)

// Info describes an image.
type Info struct {
	Path          string   `json:"path"`
	Format        string   `json:"format"`
	Size          int64    `json:"size"`      // of the disk, bytes
	FileSize      int64    `json:"file_size"` // of the file, bytes
	Version       int      `json:"version,omitempty"`
	ClusterSize   int64    `json:"cluster_size,omitempty"`
	Compression   string   `json:"compression,omitempty"`
	Backing       string   `json:"backing,omitempty"`
	BackingFormat string   `json:"backing_format,omitempty"`
	Snapshots     []string `json:"snapshots,omitempty"`
	Dirty         bool     `json:"dirty,omitempty"`
	Corrupt       bool     `json:"corrupt,omitempty"`
}

func (q *qcow2) info(i *Info) {
	i.Format, i.Size, i.Version, i.ClusterSize = Qcow2, sectors(q.h.size), q.h.version, q.h.cluster()
	i.Compression = [...]string{"zlib", "zstd"}[q.h.compression]
	i.Backing, i.BackingFormat = q.h.backing, q.h.backingFmt
	i.Dirty, i.Corrupt = q.h.incompat&featDirty != 0, q.h.incompat&featCorrupt != 0
	list, _, err := q.snapshotTable()
	if err != nil {
		i.Corrupt = true
	}
	for _, s := range list {
		i.Snapshots = append(i.Snapshots, s.name)
	}
}

// Inspect describes an image without opening what it is backed by.
func Inspect(path string, o Options) (Info, error) {
	o.ReadOnly, o.checking = true, true
	img, err := open(path, o)
	if err != nil {
		return Info{}, err
	}
	i := Info{Path: path}
	img.info(&i)
	f, err := o.fs().Open(path, false)
	if err != nil {
		return i, errors.Join(err, img.Close())
	}
	i.FileSize, err = f.Size()
	return i, errors.Join(err, f.Close(), img.Close())
}

// Progress is told how many of an operation's bytes are done.
type Progress func(done, total int64)

// step is how much is copied at once, in bytes.
const step = 1 << 20

// transfer copies the ranges of src that want says, zeros without their bytes.
// dst is at least as large.
func transfer(ctx context.Context, dst, src Image, want func(Kind) bool, zeroed bool, p Progress) error {
	size := src.Size()
	buf := make([]byte, step)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind, n, err := src.Extent(off, size-off)
		if err != nil {
			return err
		}
		if kind == Data || (kind == Hole && want(Hole)) {
			n = min(n, step-off%step)
		}
		if want(kind) {
			if err := transferRange(dst, src, kind, off, n, buf, zeroed); err != nil {
				return err
			}
		}
		off += n
		if p != nil {
			p(off, size)
		}
	}
	return nil
}

func transferRange(dst, src Image, kind Kind, off, n int64, buf []byte, zeroed bool) error {
	if kind == Zero {
		if zeroed {
			return nil
		}
		return dst.WriteZeroes(off, n, true)
	}
	if err := src.ReadAt(buf[:n], off); err != nil {
		return err
	}
	const grain = 4096
	for at := int64(0); at < n; {
		// Runs of zeros and of other bytes, in grains.
		end := at
		zero := allZero(buf[at:min(n, at+grain)])
		for end < n && allZero(buf[end:min(n, end+grain)]) == zero {
			end = min(n, end+grain)
		}
		var err error
		switch {
		case !zero:
			err = dst.WriteAt(buf[at:end], off+at)
		case !zeroed:
			err = dst.WriteZeroes(off+at, end-at, true)
		}
		if err != nil {
			return err
		}
		at = end
	}
	return nil
}

// Convert copies what src reads as to a new image, which takes no space for
// zeros. o.Size is src's where 0.
func Convert(ctx context.Context, path string, src Image, o CreateOptions, p Progress) error {
	if o.Size == 0 {
		o.Size = src.Size()
	}
	if o.Size < src.Size() {
		return fmt.Errorf("new image of %d bytes, source has %d", o.Size, src.Size())
	}
	plain := o.Backing == ""
	return build(path, o, func(dst Image) error {
		return transfer(ctx, dst, src, func(k Kind) bool { return k != Hole || holesRead(src) || !plain }, plain, p)
	})
}

// holesRead tells whether holes of an image may read as other than zeros.
func holesRead(i Image) bool {
	q, ok := i.(*qcow2)
	return !ok || q.backing != nil
}

// Resize changes the size of the disk. Shrinking cuts its end off and must be
// asked for.
func Resize(path string, size int64, shrink bool, o Options) error {
	o.ReadOnly = false
	img, err := open(path, o)
	if err != nil {
		return err
	}
	switch {
	case size <= 0 || size > 1<<62:
		err = fmt.Errorf("size of %d bytes, must be 1 to 2^62", size)
	case size < img.Size() && !shrink:
		err = fmt.Errorf("size of %d bytes would cut off the end of an image of %d", size, img.Size())
	default:
		err = img.resize(sectors(size))
	}
	return errors.Join(err, img.Close())
}

// Commit writes what an overlay holds to the image that it is over, and empties
// the overlay once that is safe. Stopped anywhere, it can be run again.
func Commit(ctx context.Context, path string, o Options, p Progress) error {
	o.ReadOnly = false
	img, err := open(path, o)
	if err != nil {
		return err
	}
	q, ok := img.(*qcow2)
	if !ok || q.h.backing == "" {
		return errors.Join(fmt.Errorf("image %s has no backing file to commit to", path), img.Close())
	}
	return errors.Join(q.commit(ctx, path, o, p), img.Close())
}

func (q *qcow2) commit(ctx context.Context, path string, o Options, p Progress) error {
	name, err := backingPath(path, q.h.backing)
	if err != nil {
		return err
	}
	base, err := open(name, Options{Format: q.h.backingFmt, FS: o.FS, depth: 1})
	if err != nil {
		return fmt.Errorf("backing file: %w", err)
	}
	// The overlay's holes are never read here, so that its own view of the
	// base may go stale.
	if q.h.size > base.Size() {
		err = base.resize(sectors(q.h.size))
	}
	if err == nil {
		err = transfer(ctx, base, q, func(k Kind) bool { return k != Hole }, false, p)
	}
	if err = errors.Join(err, base.Close()); err != nil {
		return err
	}
	return q.empty()
}

// empty drops all that the image holds itself.
func (q *qcow2) empty() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for off := int64(0); off < q.h.size; {
		e, err := q.lookup(off, q.h.size-off)
		if err != nil {
			return err
		}
		if e.entry != 0 {
			e.n = min(e.n, q.h.cluster())
			if err := q.setEntry(off, 0); err != nil {
				return err
			}
		}
		off += e.n
		if len(q.refs.released) > maxReleased {
			if err := q.flushMeta(); err != nil {
				return err
			}
		}
	}
	return q.flush()
}
