package snapshot_test

import (
	"math/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/snapshot"
)

// TestPackerGivesUpSlowly: memory that cannot be compressed is tried ever less, and after
// a little of it what can be is compressed again soon.
func TestPackerGivesUpSlowly(t *testing.T) {
	random, text := make([]byte, 1<<17), make([]byte, 1<<17)
	rand.New(rand.NewSource(1)).Read(random)
	for _, c := range []snapshot.Codec{snapshot.S2, snapshot.Zstd} {
		for _, k := range []struct{ random, raw int }{{3, 0}, {4, 1}, {6, 3}, {20, 15}, {1000, 31}} {
			p, err := snapshot.NewPacker(c)
			require.NoError(t, err)
			for range k.random {
				_, how := p.Pack(random)
				require.Equal(t, snapshot.None, how)
			}
			raw := 0
			for range 40 {
				if _, how := p.Pack(text); how == snapshot.None {
					raw++
				}
			}
			require.LessOrEqual(t, raw, k.raw, "%s, after %d", c, k.random)
		}
	}
}
