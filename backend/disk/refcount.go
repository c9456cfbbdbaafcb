package disk

import (
	"fmt"
	"slices"
)

// refs is the image's own account of which clusters are in use.
//
// Why decrements wait: a cluster must not be used again, nor its count fall,
// while the file's L2 tables still point to it. Increments go ahead of the L2
// entries that need them. A crash in between leaks clusters, and no more.
type refs struct {
	table    []uint64 // offsets of refcount blocks
	lo, hi   int      // entries that differ from the file's
	moved    bool     // the table is to be written to movedTo first
	movedTo  int64
	cache    *cache
	end      int64   // clusters from here on have never been used
	hint     int64   // clusters below are in use
	released []int64 // clusters that lose a reference at the next flush
}

// perBlock is how many clusters one refcount block counts.
func (q *qcow2) perBlock() int64 { return q.h.cluster() * 8 >> q.h.refOrder }

func (q *qcow2) loadRefs() error {
	b := make([]byte, q.h.refClusters<<q.h.clusterBits)
	if err := readZ(q.f, b, q.h.refOff); err != nil {
		return err
	}
	q.refs.table = make([]uint64, len(b)/8)
	for i := range q.refs.table {
		q.refs.table[i] = be.Uint64(b[i*8:]) & offsetMask
	}
	size, err := q.f.Size()
	q.refs.end = (size + q.h.cluster() - 1) >> q.h.clusterBits
	q.refs.cache = newCache(q.h.cluster())
	return err
}

// block returns the refcount block of a cluster, nil where there is none.
func (q *qcow2) block(cluster int64) (*table, error) {
	i := cluster / q.perBlock()
	if i >= int64(len(q.refs.table)) || q.refs.table[i] == 0 {
		return nil, nil
	}
	off := int64(q.refs.table[i])
	if !q.owned(off) {
		return nil, fmt.Errorf("refcount block %d at %#x: %w", i, off, ErrCorrupt)
	}
	return q.refs.cache.load(q.f, off, q.h.cluster(), func(t *table) error { return t.write(q.f) })
}

// owned tells whether an offset is that of a cluster of the file, past the header.
func (q *qcow2) owned(off int64) bool {
	return off > 0 && off&(q.h.cluster()-1) == 0 && off>>q.h.clusterBits < q.refs.end
}

func refGet(b []byte, i int64, order uint) uint64 {
	switch order {
	case 3:
		return uint64(b[i])
	case 4:
		return uint64(be.Uint16(b[i*2:]))
	case 5:
		return uint64(be.Uint32(b[i*4:]))
	case 6:
		return be.Uint64(b[i*8:])
	}
	bits := int64(1) << order
	return uint64(b[i*bits/8]>>(i*bits%8)) & (1<<bits - 1)
}

func refSet(t *table, i int64, order uint, v uint64) {
	bits := int64(1) << order
	at := i * bits / 8
	switch order {
	case 3:
		t.b[at] = byte(v)
	case 4:
		be.PutUint16(t.b[at:], uint16(v))
	case 5:
		be.PutUint32(t.b[at:], uint32(v))
	case 6:
		be.PutUint64(t.b[at:], v)
	default:
		shift := i * bits % 8
		mask := byte(1<<bits-1) << shift
		t.b[at] = t.b[at]&^mask | byte(v)<<shift
	}
	t.mark(int(at), int(at+max(1, bits/8)))
}

func (q *qcow2) refcount(cluster int64) (uint64, error) {
	t, err := q.block(cluster)
	if err != nil || t == nil {
		return 0, err
	}
	return refGet(t.b, cluster%q.perBlock(), q.h.refOrder), nil
}

// alloc takes a cluster that is in no use and returns its offset.
func (q *qcow2) alloc() (int64, error) {
	r, per := &q.refs, q.perBlock()
	for r.hint < r.end {
		t, err := q.block(r.hint)
		if err != nil {
			return 0, err
		}
		next := min(r.end, (r.hint/per+1)*per)
		if t == nil {
			r.hint = next
			continue
		}
		for ; r.hint < next; r.hint++ {
			if refGet(t.b, r.hint%per, q.h.refOrder) != 0 {
				continue
			}
			off := r.hint << q.h.clusterBits
			if q.vital(off) {
				return 0, fmt.Errorf("cluster at %#x holds metadata and counts as free: %w", off, ErrCorrupt)
			}
			refSet(t, r.hint%per, q.h.refOrder, 1)
			r.hint++
			return off, nil
		}
	}
	return q.grow(1)
}

// vital tells whether a cluster is one of the header, L1 or refcount tables.
func (q *qcow2) vital(off int64) bool {
	in := func(at, n int64) bool { return off >= at && off < at+n }
	return off == 0 || in(q.h.l1Off, int64(q.h.l1Size)*8) || in(q.h.refOff, q.h.refClusters<<q.h.clusterBits) ||
		slices.Contains(q.refs.table, uint64(off))
}

// plan counts the refcount blocks, and the clusters of a larger refcount table,
// that n clusters from start on need, themselves included.
func (q *qcow2) plan(start, n int64) (blocks, tables int64, err error) {
	per, have := q.perBlock(), int64(len(q.refs.table))
	for {
		last := (start + n + blocks + tables - 1) / per
		var b, t int64
		for i := start / per; i <= last; i++ {
			if i >= have || q.refs.table[i] == 0 {
				b++
			}
		}
		if last >= have {
			t = (max(last+1, 2*have)*8 + q.h.cluster() - 1) >> q.h.clusterBits
		}
		if b <= blocks && t <= tables {
			break
		}
		blocks, tables = max(blocks, b), max(tables, t)
	}
	if tables<<q.h.clusterBits > maxRefTable {
		return 0, 0, fmt.Errorf("image file is at its format's largest: refcount table of %d clusters, at most %d", tables, maxRefTable>>q.h.clusterBits)
	}
	return blocks, tables, nil
}

// grow adds n clusters in a row to the file's end, and what counts them. Why it
// loads first: from there on nothing can fail, and a write that ran into a full
// disk can be tried again.
func (q *qcow2) grow(n int64) (int64, error) {
	r, per := &q.refs, q.perBlock()
	if r.moved { // one at a time
		if err := q.flushRefs(); err != nil {
			return 0, err
		}
	}
	start := r.end // what counts as in use beyond is leaked: nothing can point there
	blocks, tables, err := q.plan(start, n)
	if err != nil {
		return 0, err
	}
	total := n + blocks + tables
	last := (start + total - 1) / per
	have := map[int64]*table{}
	for i := start / per; i <= last; i++ {
		if have[i], err = q.block(i * per); err != nil {
			return 0, err
		}
	}
	r.end = start + total
	if tables > 0 {
		r.table = append(r.table, make([]uint64, tables<<q.h.clusterBits/8-int64(len(r.table)))...)
		r.moved, r.movedTo = true, (start+n+blocks)<<q.h.clusterBits
	}
	at := start + n
	for i := start / per; i <= last; i++ {
		if have[i] == nil {
			have[i] = q.newBlock(i, at)
			at++
		} else if r.cache.find(have[i].off) == nil {
			r.cache.put(have[i]) // pushed out by those that were loaded after it
		}
	}
	for c := start; c < start+total; c++ {
		refSet(have[c/per], c%per, q.h.refOrder, 1)
	}
	// plan may have reserved one block more than there was need for.
	for ; at < start+n+blocks; at++ {
		r.released = append(r.released, at)
	}
	return start << q.h.clusterBits, nil
}

// newBlock makes an empty refcount block in a cluster.
func (q *qcow2) newBlock(i, cluster int64) *table {
	t := &table{off: cluster << q.h.clusterBits, b: make([]byte, q.h.cluster())}
	t.mark(0, len(t.b))
	q.refs.cache.drop(t.off)
	q.refs.cache.put(t)
	q.refs.table[i] = uint64(t.off)
	q.markRef(int(i))
	return t
}

func (q *qcow2) markRef(i int) {
	r := &q.refs
	if r.hi == 0 {
		r.lo, r.hi = i, i+1
		return
	}
	r.lo, r.hi = min(r.lo, i), max(r.hi, i+1)
}

// release takes back one reference of n bytes at off, at the next flush.
func (q *qcow2) release(off, n int64) {
	for c := off >> q.h.clusterBits; c <= (off+n-1)>>q.h.clusterBits; c++ {
		q.refs.released = append(q.refs.released, c)
	}
}

// unref takes a reference back at once: for clusters that nothing in the file
// has ever pointed to, or points to any more.
func (q *qcow2) unref(cluster int64) error {
	t, err := q.block(cluster)
	if err != nil || t == nil {
		return err
	}
	i := cluster % q.perBlock()
	n := refGet(t.b, i, q.h.refOrder)
	if n == 0 {
		return nil // the image was wrong already, and this changes nothing
	}
	refSet(t, i, q.h.refOrder, n-1)
	if n == 1 {
		q.refs.hint = min(q.refs.hint, cluster)
		q.l2.drop(cluster << q.h.clusterBits)
		if q.h.cluster() >= 4096 { // smaller than what hosts give back
			_ = q.f.Punch(cluster<<q.h.clusterBits, q.h.cluster()) // costs space if it fails, and nothing else
		}
	}
	return nil
}

// flushRefs writes refcounts: blocks before the table that names them, a new
// table before the header that does.
func (q *qcow2) flushRefs() error {
	r := &q.refs
	for _, t := range r.cache.dirty() {
		if err := t.write(q.f); err != nil {
			return err
		}
	}
	if r.hi == 0 && !r.moved {
		return nil
	}
	if err := q.f.Sync(); err != nil {
		return err
	}
	b := make([]byte, sectors(int64(len(r.table)*8)))
	for i, v := range r.table {
		be.PutUint64(b[i*8:], v)
	}
	if !r.moved {
		lo, hi := int64(r.lo*8)/SectorSize*SectorSize, sectors(int64(r.hi*8))
		if err := writeAll(q.f, b[lo:hi], q.h.refOff+lo); err != nil {
			return err
		}
		r.hi = 0
		return nil
	}
	return q.moveRefTable(b)
}

func (q *qcow2) moveRefTable(b []byte) error {
	r := &q.refs
	if err := writeAll(q.f, b, r.movedTo); err != nil {
		return err
	}
	if err := q.f.Sync(); err != nil {
		return err
	}
	field := make([]byte, 12)
	n := int64(len(b)) >> q.h.clusterBits
	be.PutUint64(field, uint64(r.movedTo))
	be.PutUint32(field[8:], uint32(n))
	if err := writeAll(q.f, field, hRefOff); err != nil {
		return err
	}
	if q.h.refClusters > 0 {
		q.release(q.h.refOff, q.h.refClusters<<q.h.clusterBits)
	}
	q.h.refOff, q.h.refClusters = r.movedTo, n
	r.moved, r.hi = false, 0
	return nil
}
