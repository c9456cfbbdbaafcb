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
		func(s *Setup) { s.Modes = []string{"fast"} },
	} {
		s := setup()
		change(&s)
		_, err := Compare(s)
		require.Error(t, err)
	}
}
