package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

// TestPostCopyKeepsTheBandwidth: pages that are asked for count too, however fast
// the guest asks.
func TestPostCopyKeepsTheBandwidth(t *testing.T) {
	t.Parallel()
	for _, mode := range []migrate.Mode{migrate.ModePost, migrate.ModeHybrid} {
		sc := Scenario{
			Program: Program{Pages: 200, Filled: 200, Area: 200, Rate: 1e7, Pattern: "seq", Content: "random", State: 500, Seed: 3},
			Link:    Link{Bandwidth: 1e9, RTT: time.Millisecond}, Costs: costs, After: 10 * time.Millisecond,
			Options: migrate.Options{Mode: mode, Bandwidth: 500_000, Observe: -1, Codec: "none"},
		}
		res, err := Run(sc)
		require.NoError(t, err, mode)
		require.NoError(t, res.SourceErr, mode)
		r := &res.Source
		require.Greater(t, r.Faults, uint64(20), mode)
		require.LessOrEqual(t, float64(r.Sent), 1.1*(sc.Options.Bandwidth*r.Total.Seconds()+postBurst), mode)
	}
}

// postBurst is what may go at once: probes, and a chunk.
const postBurst = 128 << 10

// TestFaultConnectionLost: what was on its way over the connection of pages asked
// for comes over the other, even if there never is such a connection again.
func TestFaultConnectionLost(t *testing.T) {
	t.Parallel()
	sc := Scenario{
		Program: Program{Pages: 60, Filled: 60, Area: 60, Rate: 2e6, Pattern: "seq", Content: "random", State: 500, Seed: 3},
		Link:    Link{Bandwidth: 1e6, RTT: 10 * time.Millisecond}, Costs: costs, After: 10 * time.Millisecond,
		Options: migrate.Options{Mode: migrate.ModePost, Observe: -1, Codec: "none"},
		Horizon: time.Minute,
	}
	whole, err := Run(sc)
	require.NoError(t, err)
	for at := 0; at < whole.Messages; at += 5 {
		sc.Faults = []Fault{{At: at, What: CutFault}}
		res, err := Run(sc)
		require.NoError(t, err, "at message %d", at)
		require.NoError(t, res.SourceErr, "at message %d", at)
		require.True(t, res.SourceOver, "at message %d", at)
		require.Zero(t, res.Source.Cuts, "at message %d", at)
	}
}
