package disk

import "container/list"

// table is a cluster of metadata in memory: an L2 table or a refcount block.
type table struct {
	off    int64
	b      []byte
	lo, hi int // bytes that differ from the file's, none if hi is 0
}

func (t *table) get(i int64) uint64 { return be.Uint64(t.b[i*8:]) }

func (t *table) set(i int64, v uint64) {
	be.PutUint64(t.b[i*8:], v)
	t.mark(int(i*8), int(i*8)+8)
}

func (t *table) mark(lo, hi int) {
	if t.hi == 0 {
		t.lo, t.hi = lo, hi
		return
	}
	t.lo, t.hi = min(t.lo, lo), max(t.hi, hi)
}

// write brings the file up to date, in whole sectors. A write that fails leaves
// the table dirty, so that it can be tried again.
func (t *table) write(f File) error {
	if t.hi == 0 {
		return nil
	}
	lo, hi := t.lo/SectorSize*SectorSize, int(sectors(int64(t.hi)))
	if err := writeAll(f, t.b[lo:hi], t.off+int64(lo)); err != nil {
		return err
	}
	t.hi = 0
	return nil
}

// cache holds tables by their place in the file, the last used first.
type cache struct {
	m   map[int64]*list.Element
	lru *list.List
	max int
}

// cacheBytes bounds each of an image's two caches.
const cacheBytes = 8 << 20

func newCache(cluster int64) *cache {
	return &cache{m: map[int64]*list.Element{}, lru: list.New(), max: int(max(4, cacheBytes/cluster))}
}

func (c *cache) find(off int64) *table {
	e := c.m[off]
	if e == nil {
		return nil
	}
	c.lru.MoveToFront(e)
	return e.Value.(*table)
}

func (c *cache) put(t *table) { c.m[t.off] = c.lru.PushFront(t) }

func (c *cache) drop(off int64) {
	if e := c.m[off]; e != nil {
		c.lru.Remove(e)
		delete(c.m, off)
	}
}

// trim makes room for one more. save is called for a victim that is dirty.
func (c *cache) trim(save func(*table) error) error {
	for c.lru.Len() >= c.max {
		t := c.lru.Back().Value.(*table)
		if t.hi != 0 {
			if err := save(t); err != nil {
				return err
			}
		}
		c.drop(t.off)
	}
	return nil
}

// dirty lists what needs writing, oldest use first.
func (c *cache) dirty() []*table {
	var out []*table
	for e := c.lru.Back(); e != nil; e = e.Prev() {
		if t := e.Value.(*table); t.hi != 0 {
			out = append(out, t)
		}
	}
	return out
}

// load returns a table, read from the file if it is not held.
func (c *cache) load(f File, off, cluster int64, save func(*table) error) (*table, error) {
	if t := c.find(off); t != nil {
		return t, nil
	}
	if err := c.trim(save); err != nil {
		return nil, err
	}
	t := &table{off: off, b: make([]byte, cluster)}
	if err := readZ(f, t.b, off); err != nil {
		return nil, err
	}
	c.put(t)
	return t, nil
}
