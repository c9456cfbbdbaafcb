package migrate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPageCosts: what a page costs comes from passes of about the same length, a
// long one says nothing of a short one, and later ones count.
func TestPageCosts(t *testing.T) {
	const ms = time.Millisecond
	var s pageCosts
	require.False(t, s.known())
	s.add(pageCost{1300, 500 * ms, 250})
	require.InDelta(t, 1300, s.at(500*ms, 250), 1)
	require.Less(t, s.at(50*ms, 250), 250.0, "a tenth of the stores")
	s.add(pageCost{PageSize + pageHead, 800 * ms, 250})
	require.Less(t, s.at(50*ms, 250), 250.0)
	require.InDelta(t, PageSize+pageHead, s.at(2*time.Second, 250), 1)
	between := s.at(640*ms, 250)
	require.Greater(t, between, 2000.0)
	require.Less(t, between, 3500.0)
	s.add(pageCost{700, 480 * ms, 250})
	require.Len(t, s, 2, "in place of the one of 500 ms")
	require.InDelta(t, 700, s.at(480*ms, 250), 1)
	for i := range 10 {
		s.add(pageCost{100, time.Second << i, 250})
	}
	require.Len(t, s, costsKept)
}

// TestChangesCost as the pager would send them.
func TestChangesCost(t *testing.T) {
	c, err := newChooser("none", 7, func() time.Duration { return 0 })
	require.NoError(t, err)
	leaf := func(n byte) (l [LeafSize]byte) { l[0] = n; return l }
	for name, k := range map[string]struct {
		some []Change
		want float64
	}{
		"as it was":        {[]Change{{Leaf: leaf(1)}}, 0},
		"zeros":            {[]Change{{Lines: ^uint64(0), Leaf: zeroLeaf}}, 0},
		"a line":           {[]Change{{Lines: 1 << 9, Leaf: leaf(1)}}, linesHead + lineSize},
		"all":              {[]Change{{Lines: ^uint64(0), Leaf: leaf(1)}}, PageSize},
		"the same twice":   {[]Change{{Lines: ^uint64(0), Leaf: leaf(1)}, {Lines: ^uint64(0), Leaf: leaf(1)}}, (PageSize + dupSize) / 2},
		"half of it moved": {[]Change{{Lines: ^uint64(0) >> 32, Leaf: leaf(1)}, {Leaf: leaf(2)}}, (linesHead + 32*lineSize) / 2},
	} {
		s := &Source{}
		s.pager.codec = c
		s.learn(k.some, time.Second, 10)
		require.InDelta(t, k.want+pageHead, s.cost.again.at(time.Second, 10), 0.01, name)
	}
}
