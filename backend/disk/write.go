package disk

import "fmt"

// maxReleased bounds the clusters that wait to be free.
const maxReleased = 1 << 16

func (q *qcow2) writable(off, n int64) error {
	if q.readonly {
		return ErrReadOnly
	}
	if err := inside(sectors(q.h.size), off, n); err != nil {
		return err
	}
	if len(q.refs.released) > maxReleased {
		return q.flushMeta()
	}
	return nil
}

func (q *qcow2) WriteAt(p []byte, off int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.writable(off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		n, err := q.writeSome(p, off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// writeSome writes as much as one host write can: in place, or one cluster.
func (q *qcow2) writeSome(p []byte, off int64) (int64, error) {
	e, err := q.lookup(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	if e.inPlace() {
		if q.vitalRange(e.host, e.n) {
			return 0, fmt.Errorf("data cluster of %#x is metadata at %#x: %w", off, e.host, ErrCorrupt)
		}
		return e.n, writeAll(q.f, p[:e.n], e.host)
	}
	n := min(int64(len(p)), q.h.cluster()-off&(q.h.cluster()-1))
	return n, q.replace(p[:n], off)
}

// vitalRange is vital for a stretch of clusters. It leaves out refcount blocks,
// which would cost a search for each write: an image that lies about them only
// harms itself.
func (q *qcow2) vitalRange(off, n int64) bool {
	over := func(at, len int64) bool { return off < at+len && at < off+n }
	return over(0, q.h.cluster()) || over(q.h.l1Off, int64(q.h.l1Size)*8) || over(q.h.refOff, q.h.refClusters<<q.h.clusterBits)
}

// replace writes a cluster, or part of it, to a place of its own.
func (q *qcow2) replace(p []byte, off int64) error {
	in := off & (q.h.cluster() - 1)
	buf := p
	if int64(len(p)) < q.h.cluster() {
		buf = make([]byte, q.h.cluster())
		if err := q.read(buf, off-in); err != nil {
			return err
		}
		copy(buf[in:], p)
	}
	t, i, err := q.ownL2(off)
	if err != nil {
		return err
	}
	old := t.get(i)
	if host := int64(old & offsetMask); q.reserved(old) {
		// Zeros with a cluster kept for them: the flag hides a torn write.
		if q.vitalRange(host, q.h.cluster()) {
			return fmt.Errorf("cluster kept for %#x is metadata at %#x: %w", off, host, ErrCorrupt)
		}
		if err := writeAll(q.f, buf, host); err != nil {
			return err
		}
		t.set(i, uint64(host)|flagCopied)
		return nil
	}
	host, err := q.alloc()
	if err != nil {
		return err
	}
	if err := writeAll(q.f, buf, host); err != nil {
		q.release(host, 1)
		return err
	}
	t.set(i, uint64(host)|flagCopied)
	q.releaseEntry(old)
	return nil
}

// reserved tells whether a zero cluster has a place in the file that is its own.
func (q *qcow2) reserved(e uint64) bool {
	return q.h.version >= 3 && e&flagCompressed == 0 && e&flagZero != 0 && e&flagCopied != 0 && q.owned(int64(e&offsetMask))
}

// releaseEntry gives up what an L2 entry pointed to.
func (q *qcow2) releaseEntry(e uint64) {
	if e&flagCompressed != 0 {
		if off, n := q.packed(e); off>>q.h.clusterBits < q.refs.end {
			q.release(off, n)
		}
		return
	}
	if host := int64(e & offsetMask); q.owned(host) {
		q.release(host, 1)
	}
}

// ownL2 returns the L2 table for off, made or copied where the image has none of
// its own, and the entry's index.
func (q *qcow2) ownL2(off int64) (*table, int64, error) {
	i := off / (q.h.cluster() * q.h.l2Entries())
	idx := off >> q.h.clusterBits % q.h.l2Entries()
	entry := q.l1[i]
	if entry&flagCopied != 0 {
		t, err := q.loadL2(entry)
		return t, idx, err
	}
	t := &table{b: make([]byte, q.h.cluster())}
	if old := int64(entry & offsetMask); old != 0 {
		from, err := q.loadL2(entry)
		if err != nil {
			return nil, 0, err
		}
		copy(t.b, from.b)
	}
	if err := q.l2.trim(func(*table) error { return q.flushMeta() }); err != nil {
		return nil, 0, err
	}
	host, err := q.alloc()
	if err != nil {
		return nil, 0, err
	}
	t.off = host
	t.mark(0, len(t.b))
	q.l2.drop(host)
	q.l2.put(t)
	if old := int64(entry & offsetMask); old != 0 {
		q.release(old, 1)
	}
	q.setL1(int(i), uint64(host)|flagCopied)
	return t, idx, nil
}

func (q *qcow2) setL1(i int, v uint64) {
	q.l1[i] = v
	if q.l1hi == 0 {
		q.l1lo, q.l1hi = i, i+1
		return
	}
	q.l1lo, q.l1hi = min(q.l1lo, i), max(q.l1hi, i+1)
}

func (q *qcow2) Discard(off, n int64) error { return q.WriteZeroes(off, n, true) }

func (q *qcow2) WriteZeroes(off, n int64, unmap bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.writable(off, n); err != nil {
		return err
	}
	return q.zero(off, n, unmap)
}

func (q *qcow2) zero(off, n int64, unmap bool) error {
	for n > 0 {
		e, err := q.lookup(off, n)
		if err != nil {
			return err
		}
		k := e.n
		if !(e.kind == Hole && off >= q.back) && !(e.kind == Zero && !unmap) {
			k = min(k, q.h.cluster()-off&(q.h.cluster()-1))
			// The last cluster may be cut off by the disk's end.
			whole := off&(q.h.cluster()-1) == 0 && (k == q.h.cluster() || off+k >= sectors(q.h.size))
			if err := q.zeroPart(off, k, e, whole, unmap); err != nil {
				return err
			}
		}
		if len(q.refs.released) > maxReleased {
			if err := q.flushMeta(); err != nil {
				return err
			}
		}
		off, n = off+k, n-k
	}
	return nil
}

// zeroPart zeroes a cluster or part of it.
func (q *qcow2) zeroPart(off, n int64, e extent, whole, unmap bool) error {
	covered := off&^(q.h.cluster()-1) < q.back
	switch {
	case e.kind == Zero && !whole:
		return nil
	case !whole, q.h.version < 3 && covered:
		// Version 2 cannot tell zeros from a hole onto the backing image.
		for n > 0 {
			k, err := q.writeSome(zeros[:min(n, int64(len(zeros)))], off)
			if err != nil {
				return err
			}
			off, n = off+k, n-k
		}
		return nil
	case q.h.version < 3:
		return q.setEntry(off, 0)
	case !unmap && e.inPlace():
		return q.setEntryKeep(off, e.entry|flagZero)
	case !covered && unmap:
		return q.setEntry(off, 0)
	}
	return q.setEntry(off, flagZero)
}

// setEntry changes an L2 entry and gives up what it pointed to.
func (q *qcow2) setEntry(off int64, v uint64) error {
	t, i, err := q.ownL2(off)
	if err != nil {
		return err
	}
	if old := t.get(i); old != v {
		t.set(i, v)
		q.releaseEntry(old)
	}
	return nil
}

func (q *qcow2) setEntryKeep(off int64, v uint64) error {
	t, i, err := q.ownL2(off)
	if err != nil {
		return err
	}
	t.set(i, v)
	return nil
}
