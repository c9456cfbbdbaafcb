package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhatIsAtHandStays: what a machine boots from travels only to who lacks it.
func TestWhatIsAtHandStays(t *testing.T) {
	run := func(seed uint64) uint64 {
		p := Program{Pages: 40, Filled: 30, Area: 12, Pattern: "seq", Content: "random", Seed: seed}
		res, err := Run(Scenario{Program: p, Seed: 1})
		require.NoError(t, err)
		require.NoError(t, res.SourceErr)
		return res.Source.Sent
	}
	plain, lacks, has := run(2), run(1), run(5) // see config and NewBuilder
	require.InDelta(t, plain, has, 4096)
	require.InDelta(t, plain+uint64(len(ballast)), lacks, 4096)
}
