package mem

import (
	"bytes"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func fill(v byte) []byte { return bytes.Repeat([]byte{v}, PageSize) }

func epochPage(e *Epoch, p uint32) []byte {
	var b [PageSize]byte
	e.Read(p, &b)
	return b[:]
}

func TestEpochKeepsItsInstant(t *testing.T) {
	m := newTest(t, 4*PageSize)
	require.True(t, m.Write(0, fill(1)))
	first := m.Epoch(10)
	assert.Equal(t, FlagClean, m.Flags(0))
	require.True(t, m.Write(0, fill(2)))
	second := m.Epoch(10)
	require.True(t, m.Write(0, fill(3)))
	require.True(t, m.Write(0, fill(4)))
	require.True(t, m.Write(PageSize, fill(5)))

	assert.Equal(t, fill(1), epochPage(first, 0))
	assert.Equal(t, fill(2), epochPage(second, 0))
	for _, e := range []*Epoch{first, second} {
		assert.Equal(t, fill(0), epochPage(e, 1))
		assert.Equal(t, 1, e.Held(), "a page never written before needs no pre-image")
		assert.True(t, e.Present(0))
		assert.False(t, e.Present(1))
		assert.False(t, e.Present(2))
		assert.Equal(t, zeroLeaf, e.Leaf(1))
		assert.EqualValues(t, 4, e.Pages())
	}
	assert.Equal(t, leafOf((*[PageSize]byte)(fill(2))), second.Leaf(0))
	first.Close()
	assert.Equal(t, fill(2), epochPage(second, 0))
	second.Close()
}

func TestEpochPoolFull(t *testing.T) {
	m := newTest(t, 4*PageSize)
	require.True(t, m.Write(0, bytes.Repeat([]byte{1}, 4*PageSize)))
	c := m.Consumer("c")
	roomy, tight := m.Epoch(3), m.Epoch(1)
	require.True(t, m.Touch(0))
	for range 5 { // must not leak roomy's pre-images
		require.False(t, m.Touch(1))
	}
	assert.Equal(t, 1, roomy.Held())
	assert.Equal(t, 1, tight.Held())
	assert.Equal(t, FlagClean, m.Flags(1))
	assert.Equal(t, []uint32{0}, pagesOf(c.Harvest(nil)))
	require.True(t, m.Touch(0), "saved already")
	assert.Equal(t, fill(1), epochPage(roomy, 1))

	tight.Done(0)
	<-m.Room()
	require.True(t, m.Touch(1))
	require.False(t, m.Touch(2))
	tight.Close()
	<-m.Room()
	require.True(t, m.Touch(2))
	require.False(t, m.Touch(3), "roomy is full too")
	roomy.Done(3)
	require.True(t, m.Touch(3), "nobody needs page 3")
	assert.Equal(t, 3, roomy.Held())
	roomy.Close()
}

func TestEpochDone(t *testing.T) {
	m := newTest(t, 2*PageSize)
	require.True(t, m.Write(0, fill(1)))
	e := m.Epoch(1)
	e.Done(0)
	e.Done(0)
	require.True(t, m.Write(0, fill(2)))
	assert.Zero(t, e.Held())
	assert.Panics(t, func() { epochPage(e, 0) })
	assert.Equal(t, fill(0), epochPage(e, 1), "the claim was let go")
	e.Close()
}

// Images and slots that epochs leave must not carry anything over.
func TestEpochReuse(t *testing.T) {
	m := newTest(t, 3*PageSize)
	for i := range byte(5) {
		require.True(t, m.Write(0, fill(i+1)))
		require.True(t, m.Write(PageSize, fill(i+101)))
		e := m.Epoch(2)
		require.True(t, m.Write(0, fill(0xee)))
		e.Done(1)
		require.True(t, m.Write(PageSize, fill(0xef)))
		assert.Equal(t, fill(i+1), epochPage(e, 0))
		assert.Equal(t, 1, e.Held())
		e.Close()
	}
}

func TestChanged64(t *testing.T) {
	m := newTest(t, 4*PageSize)
	require.True(t, m.Write(0, fill(1)))
	e := m.Epoch(4)
	assert.Zero(t, e.Changed64(0))
	for _, o := range []uint64{0, 63, 64, 191, 4095, PageSize + 128} {
		require.True(t, m.Write(o, []byte{2}))
	}
	assert.Equal(t, uint64(1|1<<1|1<<2|1<<63), e.Changed64(0))
	assert.Equal(t, uint64(1<<2), e.Changed64(1), "against zero")
	assert.Zero(t, e.Changed64(2))
	require.True(t, m.Write(0, fill(1)))
	assert.Zero(t, e.Changed64(0), "written back")
	e.Done(3)
	assert.Equal(t, ^uint64(0), e.Changed64(3))
	e.Close()
}

// A guest thread writes pages of one value each while readers copy two epochs:
// a torn page, or one from another instant, shows as a wrong byte. Under -race
// any unordered access fails too.
func TestEpochReadersAgainstWriter(t *testing.T) {
	const pages, rounds, readers = 200, 12, 3
	m := newTest(t, pages*PageSize)
	r := rand.New(rand.NewPCG(3, 4))
	now := make([]byte, pages)
	write := func() {
		p := uint32(r.IntN(pages))
		v := byte(r.IntN(255) + 1)
		if m.Flags(p)&FlagClean != 0 && !m.Touch(p) {
			return // full: this guest gives up instead of waiting
		}
		now[p] = v
		for i, b := 0, m.page(p); i < PageSize; i++ {
			b[i] = v
		}
	}
	for range rounds {
		var wg sync.WaitGroup
		open := []*Epoch{}
		for range 2 {
			e, want := m.Epoch(pages/2), bytes.Clone(now)
			open = append(open, e)
			for k := range readers {
				wg.Go(func() { readEpoch(t, e, want, k, readers) })
			}
			for range 300 {
				write()
			}
		}
		wg.Wait()
		for _, e := range open {
			assert.Zero(t, e.Held())
			e.Close()
		}
	}
}

// readEpoch reads every k-th of n pages, and is done with each.
func readEpoch(t *testing.T, e *Epoch, want []byte, k, n int) {
	var b [PageSize]byte
	for p := k; p < len(want); p += n {
		e.Read(uint32(p), &b)
		if !bytes.Equal(b[:], fill(want[p])) {
			t.Errorf("page %d: got %d...%d, want all %d", p, b[0], b[PageSize-1], want[p])
		}
		e.Leaf(uint32(p))
		e.Done(uint32(p))
	}
}

// passer is a guest whose passes readers send, as a migration does.
type passer struct {
	t        *testing.T
	m        *Memory
	r        *rand.Rand
	now      []byte // what each page is full of
	was      []byte // at the last pass
	e, base  *Epoch
	c        *Consumer
	dirty    []uint64
	bases    atomic.Int32
	refusals int
}

func (p *passer) write() {
	page, v := uint32(p.r.IntN(len(p.now))), byte(p.r.IntN(255)+1)
	if p.m.Flags(page)&FlagClean != 0 && !p.m.Touch(page) {
		p.refusals++
		return
	}
	p.now[page] = v
	for i, b := 0, p.m.page(page); i < PageSize; i++ {
		b[i] = v
	}
}

// pass begins the next pass.
func (p *passer) pass(pool int) (then, was []byte) {
	if p.base != nil {
		p.base.Close()
	}
	if p.base = p.e; p.base != nil {
		p.base.Freeze()
	}
	p.dirty = p.c.Harvest(p.dirty)
	p.e = p.m.Pass(pool, p.dirty)
	then, was = bytes.Clone(p.now), p.was
	p.was = then
	return then, was
}

// send reads every k-th of n dirty pages.
func (p *passer) send(then, was []byte, k, n int) {
	var b [PageSize]byte
	for i, page := range pagesOf(p.dirty) {
		if i%n != k {
			continue
		}
		if p.base != nil && p.base.Base(page, &b) {
			p.bases.Add(1)
			if !bytes.Equal(b[:], fill(was[page])) {
				p.t.Errorf("base of page %d: got %d, want all %d", page, b[0], was[page])
			}
		}
		if p.e.Read(page, &b); !bytes.Equal(b[:], fill(then[page])) {
			p.t.Errorf("page %d: got %d, want all %d", page, b[0], then[page])
		}
		p.e.Leaf(page)
		p.e.Sent(page)
	}
}

// Passes follow each other while the guest writes: what readers send is the
// content at the harvest, and bases are what they sent before.
func TestPassesAgainstWriter(t *testing.T) {
	const pages, rounds, readers = 200, 40, 3
	for _, pool := range []int{5, pages / 4, pages} {
		m := newTest(t, pages*PageSize)
		p := &passer{t: t, m: m, r: rand.New(rand.NewPCG(5, uint64(pool))), now: make([]byte, pages), c: m.Consumer("pass")}
		for range rounds {
			then, was := p.pass(pool)
			var wg sync.WaitGroup
			for k := range readers {
				wg.Go(func() { p.send(then, was, k, readers) })
			}
			for range 100 {
				p.write()
			}
			wg.Wait()
			for range 20 {
				p.write() // all is sent: only bases are saved, and nothing is refused
			}
			require.LessOrEqual(t, p.e.Held(), pool)
		}
		assert.Positive(t, p.bases.Load())
		if pool == pages {
			assert.Zero(t, p.refusals)
		}
		p.e.Close()
		p.base.Close()
		require.NoError(t, m.Close())
	}
}

// Passes in a steady state cost one allocation: the epoch itself.
func TestPassAllocations(t *testing.T) {
	const pages = 512
	m := newTest(t, pages*PageSize)
	require.True(t, m.Write(0, make([]byte, pages*PageSize)))
	p := &passer{t: t, m: m, r: rand.New(rand.NewPCG(1, 1)), now: make([]byte, pages), c: m.Consumer("pass")}
	p.c.NoteWriters()
	round := func() {
		if p.base != nil {
			p.base.Close()
		}
		if p.base = p.e; p.base != nil {
			p.base.Freeze()
		}
		p.dirty = p.c.Harvest(p.dirty)
		p.e = m.Pass(128, p.dirty)
		for page := range uint32(200) {
			m.Touch(page)
		}
		for i, w := range p.dirty {
			for ; w != 0; w &= w - 1 {
				p.e.Sent(uint32(i*64 + bits.TrailingZeros64(w)))
			}
		}
		for page := range uint32(200) {
			m.Touch(page)
		}
	}
	for range 4 {
		round()
	}
	assert.LessOrEqual(t, testing.AllocsPerRun(20, round), 1.0)
}

// Readers of an epoch wait for absent pages, whose content is the epoch's when it
// comes.
func TestEpochOfAbsentPages(t *testing.T) {
	const pages = 100
	m := newTest(t, pages*PageSize)
	all := make([]uint64, 2)
	for p := range uint32(pages) {
		all[p>>6] |= 1 << (p & 63)
	}
	require.NoError(t, m.Absent(all, func(p uint32) [16]byte { return leafOf((*[PageSize]byte)(fill(byte(p + 1)))) }))
	require.Equal(t, pages, m.Missing())
	e := m.Epoch(pages)
	var wg sync.WaitGroup
	wg.Go(func() {
		var b [PageSize]byte
		for p := range uint32(pages) {
			if e.Leaf(p) != leafOf((*[PageSize]byte)(fill(byte(p+1)))) {
				t.Errorf("leaf of page %d", p)
			}
			for !e.Here(p) {
				runtime.Gosched()
			}
			if e.Read(p, &b); !bytes.Equal(b[:], fill(byte(p+1))) {
				t.Errorf("page %d is %d", p, b[0])
			}
			e.Done(p)
		}
	})
	for p := range uint32(pages) {
		require.NoError(t, m.Fill(p, fill(byte(p+1))))
		require.True(t, m.Write(uint64(p)*PageSize, fill(0xee)))
		m.Leaves()
	}
	wg.Wait()
	e.Close()
}

// A stalled writer must get on whenever readers give room, even with no pool.
func TestEpochStallEnds(t *testing.T) {
	const pages = 64
	for _, pool := range []int{0, 1, 5} {
		m := newTest(t, pages*PageSize)
		require.True(t, m.Write(0, bytes.Repeat([]byte{7}, pages*PageSize)))
		e := m.Epoch(pool)
		var wg sync.WaitGroup
		wg.Go(func() { readEpoch(t, e, bytes.Repeat([]byte{7}, pages), 0, 1) })
		for p := uint64(0); p < pages; {
			if m.Write(p*PageSize, fill(8)) {
				p++
				continue
			}
			<-m.Room()
		}
		wg.Wait()
		assert.Equal(t, fill(8), m.page(pages - 1)[:])
		e.Close()
	}
}
