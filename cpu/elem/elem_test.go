package elem

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSteps(t *testing.T) {
	s := make([][3]uint64, 100)[7:42]
	p := &s[0]
	for i := range s {
		require.Same(t, &s[i], p)
		require.Equal(t, i, Index(s, p))
		if i+1 < len(s) {
			p = Next(s, p)
		}
	}
}
