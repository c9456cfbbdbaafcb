package migrate

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/migrate"
)

// onward is for how many counts a guest that arrived is compared with one that
// never moved.
func onward() uint64 {
	if full {
		return 1_000_000_000
	}
	return 10_000_000
}

// compareEvery is how many counts lie between two comparisons.
const compareEvery = 10_000_000

func newTiny(t testing.TB, mib int, cmd string, warm uint64) *machine.Machine {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = uint64(mib)<<20, "run="+cmd
	m, err := machine.New(cfg, machine.Images{Kernel: tiny.Image}, nil)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	require.Equal(t, machine.Reached, m.Run(warm))
	return m
}

// TestTiny moves guests that write an array over and over, by every strategy.
func TestTiny(t *testing.T) {
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModePost, migrate.ModeHybrid, migrate.ModeAuto} {
		sizes := []int{24} // MiB
		switch {
		case full:
			sizes = []int{64, 128, 256, 512}
		case mode == migrate.ModeAuto:
			sizes = []int{64}
		}
		for _, pattern := range []string{"seq", "rand", "page", "alt"} {
			for _, size := range sizes {
				t.Run(fmt.Sprintf("%s/%s/%d", mode, pattern, size), func(t *testing.T) {
					m := newTiny(t, size+40, fmt.Sprintf("hog %d 0 %s", size, pattern), uint64(size)*2_500_000)
					j := newJourney(t, m, migrate.Options{Mode: mode, Observe: 100 * time.Millisecond})
					sent, got, err := j.travel()
					require.NoError(t, err)
					require.Equal(t, sent.Root, got.Root)
					j.same(sent)
					require.NotContains(t, j.to.text(), "CORRUPT")
				})
			}
		}
	}
}

// same checks that the guest goes on at its destination as it would have at home.
func (j *journey) same(r migrate.Report) {
	t := j.t
	first := j.to.runOn(t, r.Count, compareEvery) // post-copy: it has run for a while
	require.NoError(t, j.from.do(func() error {
		require.Equal(t, r.Count, j.from.m.Count(), "it has not run since")
		require.Equal(t, r.Root, hash(t, j.from.m))
		return nil
	}))
	j.dep.Resume()
	for at := first; ; at += compareEvery {
		j.from.runTo(t, at)
		j.to.runTo(t, at)
		require.Equal(t, j.from.hash(t), j.to.hash(t), "at #%d", at)
		if at >= r.Count+onward() {
			break
		}
	}
	j.from.stop()
	j.to.stop()
	require.NoError(t, j.from.m.Close())
	require.NoError(t, j.to.m.Close())
}

// TestHopeless sends guests over a connection that carries an eighth of what they
// write. Pre-copy alone is predicted never to end, within three passes, and gives
// up with the guest as it was; every other way ends.
func TestHopeless(t *testing.T) {
	const area = 4 // MiB that the guest writes over and over
	for _, pattern := range []string{"seq", "rand", "alt"} {
		m := newTiny(t, 32, fmt.Sprintf("hog %d 0 %s", area, pattern), 30_000_000)
		bandwidth := writes(m) / 8
		t.Logf("%s: %.1f MB/s over the connection", pattern, bandwidth/1e6)
		require.NoError(t, m.Close())
		for name, o := range map[string]migrate.Options{
			"cancel": {Mode: migrate.ModePre, OnStall: migrate.StallCancel},
			"budget": {Mode: migrate.ModePre, OnStall: migrate.StallBudget},
			"post":   {Mode: migrate.ModePre, OnStall: migrate.StallPost},
			"hybrid": {Mode: migrate.ModeHybrid},
			"auto":   {Mode: migrate.ModeAuto},
		} {
			if !full && pattern != "seq" && o.OnStall != migrate.StallCancel && o.OnStall != migrate.StallBudget {
				continue
			}
			t.Run(pattern+"/"+name, func(t *testing.T) {
				o.Bandwidth, o.MaxDowntime, o.Observe = bandwidth, 50*time.Millisecond, 200*time.Millisecond
				m := newTiny(t, 32, fmt.Sprintf("hog %d 0 %s", area, pattern), 30_000_000)
				j := newJourney(t, m, o)
				sent, got, err := j.travel()
				// Contents that alternate may be so few bytes that there is hope after all,
				// which only a pass shows.
				hopeless := pattern != "alt" || err != nil
				if o.OnStall != migrate.StallCancel || !hopeless {
					require.NoError(t, err)
					require.Equal(t, sent.Root, got.Root)
					if o.OnStall == migrate.StallBudget && pattern != "alt" {
						require.Positive(t, sent.Budget)
					}
					j.same(sent)
					return
				}
				require.Equal(t, migrate.Stalled, migrate.CodeOf(err), "%v", err)
				require.LessOrEqual(t, len(sent.Passes), 3)
				require.True(t, j.said(migrate.Hopeless))
				j.unharmed(pattern, area)
			})
		}
	}
}

// writes is how many bytes a second a machine's guest makes dirty while it runs.
func writes(m *machine.Machine) float64 {
	c := m.Memory().Consumer("writes")
	defer c.Release()
	now := since()
	m.Run(m.Count() + 3_000_000)
	return float64(c.Count()) * 4096 / now().Seconds()
}

// said tells whether a verdict came to an answer.
func (j *journey) said(a migrate.Answer) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.events {
		if e.Verdict != nil && e.Verdict.Answer == a {
			return true
		}
	}
	return false
}

// unharmed checks that the guest runs on at home as one that nobody tried to move.
func (j *journey) unharmed(pattern string, area int) {
	t := j.t
	end := j.from.runOn(t, 0, onward())
	twin := newTiny(t, 32, fmt.Sprintf("hog %d 0 %s", area, pattern), 30_000_000)
	require.Equal(t, machine.Reached, twin.Run(end))
	require.Equal(t, hash(t, twin), j.from.hash(t))
	j.from.stop()
	require.NoError(t, j.from.m.Close())
	require.NoError(t, twin.Close())
}
