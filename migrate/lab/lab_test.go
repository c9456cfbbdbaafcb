package lab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

func setup() Setup {
	return Setup{
		Memory: 1 << 20, Writer: 256 << 10, Rate: 2e6, Pattern: "seq", Content: "random", Bandwidth: 250e3, RTTNS: 1e6,
		MaxDowntimeNS: 300e6, Modes: []string{"stop", "pre", "post", "hybrid", "auto"},
	}
}

// TestStrategiesOfAWriter: pre-copy alone never catches it and says so; all others
// finish, the default within the downtime asked for.
func TestStrategiesOfAWriter(t *testing.T) {
	a, err := Compare(setup())
	require.NoError(t, err)
	rows := map[migrate.Mode]Row{}
	for _, r := range a.Rows {
		rows[r.Mode] = r
		if r.Mode != migrate.ModePre {
			require.True(t, r.Done, "%+v", r)
			require.Empty(t, r.Error)
		}
	}
	require.Equal(t, migrate.Hopeless, rows[migrate.ModePre].Verdict)
	require.Equal(t, "stalled", rows[migrate.ModePre].Error)
	require.False(t, rows[migrate.ModePre].Done)
	require.Greater(t, rows[migrate.ModeStop].DowntimeNS, int64(1e9), "all of it over 250 kB/s")
	require.Less(t, rows[migrate.ModePost].DowntimeNS, int64(300e6))
	require.LessOrEqual(t, rows[migrate.ModeAuto].DowntimeNS, int64(300e6))
	b, err := Compare(setup())
	require.NoError(t, err)
	require.Equal(t, a.Rows, b.Rows, "virtual time: the same again")
}

func TestWhatCannotBe(t *testing.T) {
	for _, change := range []func(*Setup){
		func(s *Setup) { s.Memory = 5 },
		func(s *Setup) { s.Writer = 8 << 20 },
		func(s *Setup) { s.Bandwidth = 0 },
		func(s *Setup) { s.Loss = 1 },
		func(s *Setup) { s.Pattern = "chaos" },
		func(s *Setup) { s.Content = "gold" },
		func(s *Setup) { s.Codec = "gold" },
		func(s *Setup) { s.Modes = []string{"fast"} },
	} {
		s := setup()
		change(&s)
		_, err := Compare(s)
		require.Error(t, err)
	}
}

// TestCodecPays: what compresses is compressed where that gets it across sooner, at the
// speeds that codecs are taken to have, and not where the link is faster.
func TestCodecPays(t *testing.T) {
	sent := func(codec string, bandwidth float64) uint64 {
		s := setup()
		s.Memory, s.Filled, s.RTTNS = 16<<20, 16<<20, 0
		s.Content, s.Rate, s.Modes, s.Codec, s.Bandwidth = "text", 0, []string{"stop"}, codec, bandwidth
		table, err := Compare(s)
		require.NoError(t, err)
		return table.Rows[0].Sent
	}
	require.Less(t, sent("", 1e6)+4<<20, sent("none", 1e6))
	whole := sent("none", 20e9) // most of it is to measure the link
	require.Less(t, sent("s2", 20e9)+4<<20, whole, "it was asked for")
	require.Greater(t, sent("", 20e9)+2<<20, whole)
}
