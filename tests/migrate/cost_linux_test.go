package migrate

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// cpuTime is what this process has used so far.
func cpuTime(t testing.TB) time.Duration {
	var r syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// What is measured: nothing noted; the dirty bitmap and who writes; and a pass, which
// saves each page's content before its first write as well.
const (
	untracked = iota
	dirtyBitmap
	wholePass
	ways
)

// TestTrackingCost measures, in CPU time, what tracking costs a guest that writes an
// array as fast as it can, against the same machine without, in turn. An interval is
// as long as a link of 128 MiB/s takes for an array of 8 MiB, at 500 million counts a
// second. The bar of 2 % is for the full tier and the median, as the host's speed
// changes, and for dirty tracking: what is noted. A pass also copies the page that is
// written first, to send it as it was: that waits for the host's memory, and is held
// to a bound that only a mistake is beyond.
func TestTrackingCost(t *testing.T) {
	for name, boot := range map[string]func() *machine.Machine{
		"tiny":   func() *machine.Machine { return newTiny(t, 24, "hog 8 0 seq", 60_000_000) },
		"debian": func() *machine.Machine { return newDebian(t, "seq") },
	} {
		t.Run(name, func(t *testing.T) {
			m := boot()
			d := &machine.Departing{M: m, Do: func(f func() error) error { return f() }, Now: since()}
			const counts = 8 * 500_000_000 / 128
			rounds, bars := 5, [ways]float64{dirtyBitmap: 0.5, wholePass: 0.5} // beside other packages: that no store takes a slow path for good
			if full {
				rounds, bars = 100, [ways]float64{dirtyBitmap: 0.02, wholePass: 0.15}
			}
			var shares [ways][]float64
			for n := range rounds {
				var took [ways]time.Duration
				for i := range took {
					way := (n + i) % ways
					took[way] = interval(t, d, way, counts)
				}
				for way := range shares {
					shares[way] = append(shares[way], float64(took[way])/float64(took[untracked])-1)
				}
			}
			for way := range shares {
				slices.Sort(shares[way])
			}
			t.Logf("dirty bitmap %+.2f %%, whole pass %+.2f %%", 100*shares[dirtyBitmap][rounds/2], 100*shares[wholePass][rounds/2])
			for _, way := range []int{dirtyBitmap, wholePass} {
				assert.Less(t, shares[way][rounds/2], bars[way])
			}
			require.NoError(t, m.Close())
		})
	}
}

// interval is the CPU time of so many counts, with the same before it: a first pass,
// which has all of memory and leaves little of it in the host's caches.
func interval(t *testing.T, d *machine.Departing, way int, counts uint64) time.Duration {
	require.NoError(t, d.Track())
	send(t, d)
	if way != wholePass {
		d.Resume()
	}
	runtime.GC()
	start := cpuTime(t)
	switch way {
	case dirtyBitmap:
		c := d.M.Memory().Consumer("test")
		c.NoteWriters()
		defer c.Release()
	case wholePass:
		p, err := d.Pass()
		require.NoError(t, err)
		require.Positive(t, p.Info().Number)
	}
	require.Equal(t, machine.Reached, d.M.Run(d.M.Count()+counts))
	took := cpuTime(t) - start
	d.Resume()
	return took
}
