package mem

import (
	"math/bits"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pagesOf lists the pages of a harvest.
func pagesOf(set []uint64) []uint32 {
	var out []uint32
	for i, w := range set {
		for ; w != 0; w &= w - 1 {
			out = append(out, uint32(i*64+bits.TrailingZeros64(w)))
		}
	}
	return out
}

func TestTouchAndHarvest(t *testing.T) {
	m := newTest(t, 130*PageSize) // three words, the last one short
	a, b := m.Consumer("a"), m.Consumer("b")
	for _, p := range []uint32{0, 63, 64, 129, 129} {
		require.True(t, m.Touch(p))
	}
	assert.Equal(t, uint8(0), m.Flags(129))
	assert.Equal(t, FlagClean, m.Flags(128))
	assert.Equal(t, 4, a.Count())

	assert.Equal(t, []uint32{0, 63, 64, 129}, a.Some(100))
	assert.Equal(t, []uint32{0, 64}, a.Some(2))
	assert.Equal(t, []uint32{0}, a.Some(0))

	gen := m.Gen()
	assert.Equal(t, []uint32{0, 63, 64, 129}, pagesOf(a.Harvest(nil)))
	assert.Empty(t, a.Some(100))
	assert.Greater(t, m.Gen(), gen, "four pages are clean again")
	assert.Equal(t, FlagClean, m.Flags(129))
	assert.Zero(t, a.Count())

	gen = m.Gen()
	assert.Empty(t, pagesOf(a.Harvest(nil)))
	assert.Equal(t, []uint32{0, 63, 64, 129}, pagesOf(b.Harvest(nil)), "each consumer has its own")
	assert.Equal(t, gen, m.Gen(), "these pages were clean already")

	require.True(t, m.Touch(5))
	late := m.Consumer("late")
	assert.Equal(t, FlagClean, m.Flags(5), "the new consumer must see the next write")
	require.True(t, m.Touch(5))
	assert.Equal(t, []uint32{5}, pagesOf(late.Harvest(nil)))
	assert.Equal(t, []uint32{5}, pagesOf(a.Harvest(nil)))
}

func TestHarvestReusesDst(t *testing.T) {
	m := newTest(t, 130*PageSize)
	c := m.Consumer("c")
	dst := []uint64{1, 2, 3, 4, 5}
	m.Touch(70)
	got := c.Harvest(dst)
	assert.Equal(t, []uint64{0, 1 << 6, 0}, got)
	assert.Same(t, &dst[0], &got[0])
	assert.Equal(t, []uint64{0, 0, 0}, c.Harvest(dst[:0]))
	assert.Len(t, c.Harvest(make([]uint64, 1)), 3)
}

func TestHarvestWholeWords(t *testing.T) {
	for _, pages := range []uint32{1, 63, 64, 65, 127, 128, 192} {
		m := newTest(t, uint64(pages)*PageSize)
		c := m.Consumer("c")
		for p := range pages {
			m.SetFlag(p, FlagCode)
			require.True(t, m.Touch(p))
			require.Equal(t, FlagCode, m.Flags(p))
		}
		assert.Equal(t, int(pages), c.Count())
		assert.Len(t, pagesOf(c.Harvest(nil)), int(pages))
		for p := range pages {
			require.Equal(t, FlagClean|FlagCode, m.Flags(p), "page %d of %d", p, pages)
		}
	}
}

func TestRelease(t *testing.T) {
	m := newTest(t, PageSize)
	a, b := m.Consumer("a"), m.Consumer("b")
	a.Release()
	m.Touch(0)
	assert.Zero(t, a.Count())
	assert.Equal(t, 1, b.Count())
}

func TestFlagsOfEngines(t *testing.T) {
	m := newTest(t, 2*PageSize)
	require.True(t, m.Touch(1))
	m.SetFlag(1, FlagTable|FlagClean)
	assert.Equal(t, FlagTable, m.Flags(1), "FlagClean is not the engines' to set")
	m.SetFlag(0, FlagCode)
	m.ClearFlag(0, FlagCode|FlagClean)
	assert.Equal(t, FlagClean, m.Flags(0), "nor to clear")
}
