package disk

import "fmt"

// CheckResult counts what is wrong with an image.
type CheckResult struct {
	Clusters    int64    `json:"clusters"`    // in use
	Leaks       int64    `json:"leaks"`       // clusters that nothing points to, or not that often
	Corruptions int64    `json:"corruptions"` // what loses or mixes up data
	Repaired    int64    `json:"repaired"`
	Left        int64    `json:"left"`               // corruptions that are there still
	Marked      bool     `json:"marked,omitempty"`   // as corrupt, by a writer: it can only be read
	Problems    []string `json:"problems,omitempty"` // the first of them, in words
}

const maxProblems = 100

func (r *CheckResult) corrupt(format string, args ...any) {
	r.Corruptions++
	r.say(format, args...)
}

func (r *CheckResult) say(format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check counts an image's errors, and repairs its refcounts if told to; the mark that
// it is corrupt goes if nothing corrupt is left. Raw images have nothing that could be
// wrong.
func Check(path string, repair bool, o Options) (CheckResult, error) {
	o.ReadOnly, o.depth = !repair, 0
	o.checking = true
	img, err := open(path, o)
	if err != nil {
		return CheckResult{}, err
	}
	q, ok := img.(*qcow2)
	if !ok {
		return CheckResult{}, img.Close()
	}
	r, err := q.check(repair)
	if r.Left = r.Corruptions; err == nil && repair {
		err = q.proven(&r)
	}
	r.Marked = q.h.incompat&featCorrupt != 0
	if e := img.Close(); err == nil {
		err = e
	}
	return r, err
}

// proven looks again at an image that was repaired.
func (q *qcow2) proven(r *CheckResult) error {
	again, err := q.check(false)
	r.Left = again.Corruptions
	if err != nil || r.Left > 0 || q.h.incompat&featCorrupt == 0 {
		return err
	}
	q.h.incompat &^= featCorrupt
	return q.setBits(hIncompat, q.h.incompat)
}

const countPage = 4096

// counts holds references to clusters, in pages: files may be large and empty.
type counts struct {
	q    *qcow2
	r    *CheckResult
	page map[int64]*[countPage]uint32
	top  int64 // clusters from here on have none
}

func (c *counts) add(what string, off, n int64) {
	if n <= 0 {
		return
	}
	size := c.q.refs.end << c.q.h.clusterBits
	if off < 0 || off >= size || n > size-off {
		c.r.corrupt("%s at %#x is beyond the end of the file", what, off)
		return
	}
	for i := off >> c.q.h.clusterBits; i <= (off+n-1)>>c.q.h.clusterBits; i++ {
		p := c.page[i/countPage]
		if p == nil {
			p = new([countPage]uint32)
			c.page[i/countPage] = p
		}
		p[i%countPage]++
		c.top = max(c.top, i+1)
	}
}

func (c *counts) get(i int64) uint64 {
	if p := c.page[i/countPage]; p != nil {
		return uint64(p[i%countPage])
	}
	return 0
}

func (q *qcow2) check(repair bool) (CheckResult, error) {
	var r CheckResult
	c := &counts{q: q, r: &r, page: map[int64]*[countPage]uint32{}}
	c.add("header", 0, q.h.cluster())
	c.add("refcount table", q.h.refOff, q.h.refClusters<<q.h.clusterBits)
	for i, off := range q.refs.table {
		if off == 0 {
			continue
		}
		if !q.owned(int64(off)) {
			r.corrupt("refcount block %d at %#x is not a cluster of the file", i, off)
			continue
		}
		c.add("refcount block", int64(off), q.h.cluster())
	}
	if err := c.walk(q.h.l1Off, q.l1); err != nil {
		return r, err
	}
	if err := c.snapshots(); err != nil {
		return r, err
	}
	if err := c.compare(repair); err != nil {
		return r, err
	}
	if err := c.copied(repair); err != nil || !repair {
		return r, err
	}
	return r, q.flush()
}

// walk counts what an L1 table refers to.
func (c *counts) walk(off int64, l1 []uint64) error {
	c.add("l1 table", off, int64(len(l1))*8)
	for i, e := range l1 {
		l2 := int64(e & offsetMask)
		if l2 == 0 {
			continue
		}
		if !c.q.owned(l2) {
			c.r.corrupt("l2 table %d at %#x is not a cluster of the file", i, l2)
			continue
		}
		c.add("l2 table", l2, c.q.h.cluster())
		t, err := c.q.loadL2(e)
		if err != nil {
			return err
		}
		for j := range c.q.h.l2Entries() {
			c.entry(t.get(j))
		}
	}
	return nil
}

func (c *counts) entry(e uint64) {
	if e&flagCompressed != 0 {
		off, n := c.q.packed(e)
		if end := c.q.refs.end << c.q.h.clusterBits; off < end && n > end-off {
			n = end - off // the last one's length is rounded up
		}
		c.add("compressed cluster", off, n)
		return
	}
	off := int64(e & offsetMask)
	if off == 0 {
		return
	}
	if off&(c.q.h.cluster()-1) != 0 {
		c.r.corrupt("data cluster at %#x is not aligned", off)
		return
	}
	c.add("data cluster", off, c.q.h.cluster())
}

func (c *counts) snapshots() error {
	list, end, err := c.q.snapshotTable()
	if err != nil {
		c.r.corrupt("%v", err)
		return nil
	}
	c.add("snapshot table", c.q.h.snapOff, end-c.q.h.snapOff)
	for _, s := range list {
		if size := c.q.refs.end << c.q.h.clusterBits; s.l1Off > size || int64(s.l1Size)*8 > size-s.l1Off {
			c.r.corrupt("l1 table of snapshot %q at %#x is beyond the end of the file", s.name, s.l1Off)
			continue
		}
		l1, err := c.q.readL1(s.l1Off, s.l1Size)
		if err != nil {
			return err
		}
		if err := c.walk(s.l1Off, l1); err != nil {
			return err
		}
	}
	return nil
}

// compare sets the counts that were found against those that the image has.
func (c *counts) compare(repair bool) error {
	q := c.q
	for i := int64(0); i < max(c.top, q.refs.end); i++ {
		if i/q.perBlock() < int64(len(q.refs.table)) {
			if off := int64(q.refs.table[i/q.perBlock()]); off != 0 && !q.owned(off) {
				continue // told already
			}
		}
		have, err := q.refcount(i)
		if err != nil {
			return err
		}
		want := c.get(i)
		if want != 0 {
			c.r.Clusters++
		}
		switch {
		case have == want:
			continue
		case have > want:
			c.r.Leaks++
		default:
			c.r.Corruptions++
		}
		c.r.say("cluster %d has refcount %d and %d references", i, have, want)
		if repair {
			if err := q.setRefcount(i, want); err != nil {
				return err
			}
			c.r.Repaired++
		}
	}
	return nil
}

func (q *qcow2) setRefcount(cluster int64, v uint64) error {
	if limit := uint64(1)<<(1<<q.h.refOrder) - 1; q.h.refOrder < 6 && v > limit {
		return fmt.Errorf("cluster %d has %d references, at most %d: %w", cluster, v, limit, ErrCorrupt)
	}
	t, err := q.block(cluster)
	if err != nil {
		return err
	}
	if t == nil {
		// At the file's end, because counts do not yet say what is free.
		host, err := q.grow(1)
		if err != nil {
			return err
		}
		i := cluster / q.perBlock()
		if t, err = q.block(cluster); err != nil {
			return err
		}
		if t == nil {
			t = q.newBlock(i, host>>q.h.clusterBits)
		} else {
			q.release(host, 1) // grow made the block for its own sake
		}
	}
	refSet(t, cluster%q.perBlock(), q.h.refOrder, v)
	return nil
}

// copied checks that entries say of clusters what refcounts say.
func (c *counts) copied(repair bool) error {
	q := c.q
	for i, e := range q.l1 {
		if !q.owned(int64(e & offsetMask)) {
			continue
		}
		fixed, err := c.copiedEntry(e)
		if err != nil {
			return err
		}
		if fixed != e && repair {
			q.setL1(i, fixed)
			c.r.Repaired++
		}
		for j := range q.h.l2Entries() {
			t, err := q.loadL2(e)
			if err != nil {
				return err
			}
			old := t.get(j)
			if old&flagCompressed != 0 || !q.owned(int64(old&offsetMask)) {
				continue
			}
			fixed, err := c.copiedEntry(old)
			if err != nil {
				return err
			}
			if fixed != old && repair {
				t.set(j, fixed)
				c.r.Repaired++
			}
		}
	}
	return nil
}

func (c *counts) copiedEntry(e uint64) (uint64, error) {
	n, err := c.q.refcount(int64(e&offsetMask) >> c.q.h.clusterBits)
	if err != nil {
		return e, nil // told already
	}
	if (e&flagCopied != 0) == (n == 1) {
		return e, nil
	}
	c.r.corrupt("entry %#x says copied=%t, its refcount is %d", e, e&flagCopied != 0, n)
	return e ^ flagCopied, nil
}
