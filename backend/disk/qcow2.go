package disk

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// L2 entry and L1 entry bits.
const (
	flagCopied     = 1 << 63 // the cluster's refcount is exactly 1
	flagCompressed = 1 << 62
	flagZero       = 1 << 0
)

// qcow2 is an open qcow2 image.
type qcow2 struct {
	mu       sync.Mutex
	f        File
	h        *header
	readonly bool
	backing  Image // nil if none
	back     int64 // bytes that the backing image covers
	l1       []uint64
	l1lo     int // entries that differ from the file's
	l1hi     int
	l2       *cache
	refs     refs
	closed   bool
}

func openQcow2(f File, path string, o Options) (*qcow2, error) {
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	if h.incompat&featCorrupt != 0 && !o.ReadOnly && !o.checking {
		return nil, fmt.Errorf("marked as corrupt, can only be read: %w", ErrCorrupt)
	}
	q := &qcow2{f: f, h: h, readonly: o.ReadOnly, l2: newCache(h.cluster())}
	if q.l1, err = q.readL1(h.l1Off, h.l1Size); err != nil {
		return nil, err
	}
	if err := q.loadRefs(); err != nil {
		return nil, err
	}
	if o.Snapshot != "" {
		if err := q.goBack(o.Snapshot); err != nil {
			return nil, err
		}
	}
	if o.backing != nil {
		q.setBacking(o.backing)
	} else if h.backing != "" && !o.checking {
		if err := q.openBacking(path, o); err != nil {
			return nil, err
		}
	}
	if !o.ReadOnly {
		if err := q.takeOver(); err != nil {
			return nil, errors.Join(err, q.closeBacking())
		}
	}
	return q, nil
}

func (q *qcow2) readL1(off int64, n int) ([]uint64, error) {
	b := make([]byte, n*8)
	if err := readZ(q.f, b, off); err != nil {
		return nil, err
	}
	l1 := make([]uint64, n)
	for i := range l1 {
		l1[i] = be.Uint64(b[i*8:])
	}
	return l1, nil
}

// backingPath is the file that an image names, relative to its own folder.
func backingPath(image, name string) (string, error) {
	name = strings.TrimPrefix(name, "file:")
	if scheme, _, ok := strings.Cut(name, ":"); ok && len(scheme) > 1 && !strings.ContainsAny(scheme, `/\`) {
		return "", fmt.Errorf("backing file through %q: %w", scheme, ErrUnsupported)
	}
	if filepath.IsAbs(name) {
		return name, nil
	}
	if real, err := filepath.EvalSymlinks(image); err == nil {
		image = real
	}
	return filepath.Join(filepath.Dir(image), name), nil
}

func (q *qcow2) openBacking(path string, o Options) error {
	if o.NoBacking {
		return fmt.Errorf("backing file %q, none is allowed here: %w", q.h.backing, ErrUnsupported)
	}
	name, err := backingPath(path, q.h.backing)
	if err != nil {
		return err
	}
	back, err := open(name, Options{Format: q.h.backingFmt, ReadOnly: true, FS: o.FS, depth: o.depth + 1})
	if err != nil {
		return fmt.Errorf("backing file: %w", err)
	}
	q.setBacking(back)
	return nil
}

func (q *qcow2) setBacking(b Image) { q.backing, q.back = b, min(b.Size(), q.h.size) }

func (q *qcow2) closeBacking() error {
	if q.backing == nil {
		return nil
	}
	return q.backing.Close()
}

// takeOver makes the image fit to be written: refcounts are put right if the
// last writer left them stale, and features are dropped that would go stale now.
func (q *qcow2) takeOver() error {
	if q.h.version < 3 {
		return nil
	}
	if q.h.incompat&featDirty != 0 {
		if _, err := q.check(true); err != nil {
			return err
		}
		if err := q.setBits(hIncompat, q.h.incompat&^featDirty); err != nil {
			return err
		}
		q.h.incompat &^= featDirty
	}
	if q.h.autoclear == 0 {
		return nil
	}
	q.h.autoclear = 0
	return q.setBits(hAutoclear, 0)
}

func (q *qcow2) setBits(at int64, v uint64) error {
	b := make([]byte, 8)
	be.PutUint64(b, v)
	if err := writeAll(q.f, b, at); err != nil {
		return err
	}
	return q.f.Sync()
}

func (q *qcow2) Size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return sectors(q.h.size)
}

// extent is a stretch of the disk that one L2 entry, or several in a row that
// continue each other, describe.
type extent struct {
	kind  Kind
	entry uint64
	host  int64 // of data, in the file
	n     int64
}

// inPlace tells whether data can be written where it is.
func (e *extent) inPlace() bool { return e.kind == Data && e.entry&flagCopied != 0 && !e.packed() }

func (e *extent) packed() bool { return e.entry&flagCompressed != 0 }

func (q *qcow2) classify(entry uint64, off int64) (extent, error) {
	in := off & (q.h.cluster() - 1)
	e := extent{entry: entry, n: q.h.cluster() - in}
	switch {
	case entry&flagCompressed != 0:
		e.kind = Data
		return e, nil
	case entry&flagZero != 0 && q.h.version >= 3:
		e.kind = Zero
		return e, nil
	}
	host := int64(entry & offsetMask)
	if host == 0 {
		return e, nil
	}
	if !q.owned(host) {
		return e, fmt.Errorf("data cluster of %#x at %#x: %w", off, host, ErrCorrupt)
	}
	e.kind, e.host = Data, host+in
	return e, nil
}

// lookup describes what is at off, for at most n bytes.
func (q *qcow2) lookup(off, n int64) (extent, error) {
	span := q.h.cluster() * q.h.l2Entries()
	i := off / span
	left := min(n, span-off%span)
	if i >= int64(len(q.l1)) || q.l1[i]&offsetMask == 0 {
		return extent{n: left}, nil
	}
	t, err := q.loadL2(q.l1[i])
	if err != nil {
		return extent{}, err
	}
	idx := off >> q.h.clusterBits % q.h.l2Entries()
	first, err := q.classify(t.get(idx), off)
	if err != nil {
		return extent{}, err
	}
	for idx++; first.n < left && idx < q.h.l2Entries(); idx++ {
		next, err := q.classify(t.get(idx), (off+first.n)&^(q.h.cluster()-1))
		if err != nil || next.kind != first.kind || next.packed() || first.packed() ||
			next.inPlace() != first.inPlace() || (first.kind == Data && next.host != first.host+first.n) {
			break // an error is told when its own turn comes
		}
		first.n += next.n
	}
	first.n = min(first.n, left)
	return first, nil
}

func (q *qcow2) loadL2(entry uint64) (*table, error) {
	off := int64(entry & offsetMask)
	if !q.owned(off) {
		return nil, fmt.Errorf("l2 table at %#x: %w", off, ErrCorrupt)
	}
	return q.l2.load(q.f, off, q.h.cluster(), func(*table) error { return q.flushMeta() })
}

func (q *qcow2) ReadAt(p []byte, off int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := inside(sectors(q.h.size), off, int64(len(p))); err != nil {
		return err
	}
	return q.read(p, off)
}

func (q *qcow2) read(p []byte, off int64) error {
	for len(p) > 0 {
		e, err := q.lookup(off, int64(len(p)))
		if err != nil {
			return err
		}
		part := p[:e.n]
		switch {
		case e.packed():
			err = q.readPacked(part, off, e.entry)
		case e.kind == Data:
			err = readZ(q.f, part, e.host)
		case e.kind == Hole:
			err = q.readBacking(part, off)
		default:
			clear(part)
		}
		if err != nil {
			return err
		}
		p, off = p[e.n:], off+e.n
	}
	return nil
}

func (q *qcow2) readBacking(p []byte, off int64) error {
	n := max(0, min(int64(len(p)), q.back-off))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	return q.backing.ReadAt(p[:n], off)
}

// packed tells where a compressed cluster is: an offset, and a length that is
// rounded up to whole sectors.
func (q *qcow2) packed(entry uint64) (off, n int64) {
	shift := 62 - (q.h.clusterBits - 8)
	off = int64(entry & (1<<shift - 1))
	count := int64(entry>>shift)&(1<<(q.h.clusterBits-8)-1) + 1
	return off, count*SectorSize - off%SectorSize
}

func (q *qcow2) readPacked(p []byte, off int64, entry uint64) error {
	at, n := q.packed(entry)
	if at>>q.h.clusterBits >= q.refs.end {
		return fmt.Errorf("compressed cluster of %#x at %#x: %w", off, at, ErrCorrupt)
	}
	in := make([]byte, n)
	if err := readZ(q.f, in, at); err != nil {
		return err
	}
	out := make([]byte, q.h.cluster())
	if err := q.unpack(out, in); err != nil {
		return fmt.Errorf("compressed cluster of %#x: %w: %w", off, err, ErrCorrupt)
	}
	copy(p, out[off&(q.h.cluster()-1):])
	return nil
}

func (q *qcow2) unpack(out, in []byte) error {
	if q.h.compression == 0 {
		_, err := io.ReadFull(flate.NewReader(bytes.NewReader(in)), out)
		return err
	}
	d, err := zstd.NewReader(bytes.NewReader(in), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = io.ReadFull(d, out)
	return err
}

func (q *qcow2) Extent(off, n int64) (Kind, int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := inside(sectors(q.h.size), off, n); err != nil || n == 0 {
		return Hole, n, err
	}
	e, err := q.lookup(off, n)
	return e.kind, e.n, err
}

func (q *qcow2) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	var err error
	if !q.readonly {
		err = q.flush()
	}
	return errors.Join(err, q.f.Close(), q.closeBacking())
}

func (q *qcow2) Flush() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.readonly {
		return nil
	}
	return q.flush()
}

// flush also syncs data that was written in place.
func (q *qcow2) flush() error {
	synced, err := q.writeBack()
	if err != nil || synced {
		return err
	}
	return q.f.Sync()
}

func (q *qcow2) flushMeta() error {
	_, err := q.writeBack()
	return err
}

// writeBack brings the metadata in the file up to date: counts of clusters that
// came into use, then L2 tables, then L1, then counts of those that went out
// of use. It tells whether all data was synced on the way.
func (q *qcow2) writeBack() (synced bool, err error) {
	dirty := q.l2.dirty()
	if len(dirty) == 0 && q.l1hi == 0 && len(q.refs.released) == 0 && !q.refs.moved && q.refs.hi == 0 && len(q.refs.cache.dirty()) == 0 {
		return false, nil
	}
	if err := q.flushRefs(); err != nil {
		return false, err
	}
	if err := q.f.Sync(); err != nil {
		return false, err
	}
	for _, t := range dirty {
		if err := t.write(q.f); err != nil {
			return false, err
		}
	}
	if len(dirty) > 0 {
		if err := q.f.Sync(); err != nil {
			return false, err
		}
	}
	if q.l1hi != 0 {
		if err := q.writeL1(); err != nil {
			return false, err
		}
	}
	return true, q.settle()
}

func (q *qcow2) writeL1() error {
	lo := q.l1lo * 8 / SectorSize * SectorSize
	hi := min(int(sectors(int64(q.l1hi*8))), len(q.l1)*8)
	b := make([]byte, hi-lo)
	for i := range len(b) / 8 {
		be.PutUint64(b[i*8:], q.l1[lo/8+i])
	}
	if err := writeAll(q.f, b, q.h.l1Off+int64(lo)); err != nil {
		return err
	}
	if err := q.f.Sync(); err != nil {
		return err
	}
	q.l1hi = 0
	return nil
}

// settle takes back the references that waited for what was just written.
func (q *qcow2) settle() error {
	r := &q.refs
	for n := len(r.released); n > 0; n = len(r.released) {
		if err := q.unref(r.released[n-1]); err != nil {
			return err
		}
		r.released = r.released[:n-1]
	}
	return q.flushRefs()
}
