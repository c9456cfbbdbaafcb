package mem

import (
	"cmp"
	"slices"
)

// Writer is who made a page dirty.
type Writer struct {
	RIP    uint64 // of the instruction, or of the start of the block that it is in
	CPL    uint8
	VCPU   int16
	Device uint8 // 0: a vCPU; else what SetWriter's caller numbers so, and the rest is zero
}

// Tally is how many pages a writer made dirty.
type Tally struct {
	Writer
	Pages uint64
}

// SetWriter says who writes next, and until the next call.
func (m *Memory) SetWriter(w Writer) { m.writer = w }

// NoteWriters has the consumer note who makes its pages dirty, from now on.
func (c *Consumer) NoteWriters() {
	if c.writers == nil {
		c.writers = new(writers)
	}
}

// Writers tells who made the pages of the next harvest dirty: the n greatest
// first, as far as they are known. rest are the pages of all others.
func (c *Consumer) Writers(n int) (top []Tally, rest uint64) {
	if c.writers == nil {
		return nil, uint64(c.count)
	}
	return c.writers.top(n, uint64(c.count))
}

const (
	writerSets = 64
	writerWays = 4
)

// writers counts by writer in a fixed table: a set that is full gives up its
// smallest entry, so whoever writes much is in it.
type writers struct {
	set [writerSets][writerWays]Tally
}

func (t *writers) clear() { t.set = [writerSets][writerWays]Tally{} }

func (t *writers) add(w Writer) {
	h := (w.RIP ^ uint64(w.VCPU)<<56 ^ uint64(w.Device)<<48 ^ uint64(w.CPL)<<40) * 0x9e3779b97f4a7c15
	set := &t.set[h>>58]
	least := &set[0]
	for i := range set {
		e := &set[i]
		if e.Writer == w && e.Pages != 0 {
			e.Pages++
			return
		}
		if e.Pages < least.Pages {
			least = e
		}
	}
	*least = Tally{w, 1}
}

func (t *writers) top(n int, total uint64) (top []Tally, rest uint64) {
	for i := range t.set {
		for _, e := range t.set[i] {
			if e.Pages != 0 {
				top = append(top, e)
			}
		}
	}
	slices.SortFunc(top, func(a, b Tally) int {
		return cmp.Or(cmp.Compare(b.Pages, a.Pages), cmp.Compare(a.Device, b.Device), cmp.Compare(a.RIP, b.RIP),
			cmp.Compare(a.VCPU, b.VCPU), cmp.Compare(a.CPL, b.CPL))
	})
	top = top[:min(n, len(top))]
	for _, e := range top {
		total -= e.Pages
	}
	return top, total
}
