package mem

import (
	"bytes"
	"math/rand/v2"
	"sync"
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
