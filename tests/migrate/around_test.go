package migrate

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

// TestAround moves a guest on and on, by every strategy. It stays what a guest is that
// never moved, and leaves nothing behind in the process.
func TestAround(t *testing.T) {
	moves := 20
	if full {
		moves = 1000
	}
	modes := []migrate.Mode{migrate.ModePre, migrate.ModeStop, migrate.ModePost, migrate.ModeHybrid, migrate.ModeAuto}
	m := newTiny(t, 16, "hog 1 0 rand", 3_000_000)
	var first usage
	for i := range moves {
		j := newJourney(t, m, migrate.Options{Mode: modes[i%len(modes)], Observe: 5 * time.Millisecond})
		sent, got, err := j.travel()
		require.NoError(t, err, "move %d", i)
		require.Equal(t, sent.Root, got.Root)
		require.NotContains(t, j.to.text(), "CORRUPT")
		j.from.stop()
		j.to.runOn(t, 0, 100_000)
		j.to.stop()
		require.NoError(t, j.from.m.Close())
		m = j.to.m
		if i == len(modes)-1 {
			first = used()
		}
	}
	last := used()
	t.Logf("after %d moves %+v, after %d %+v", len(modes), first, moves, last)
	require.LessOrEqual(t, last.goroutines, first.goroutines+3)
	require.LessOrEqual(t, last.files, first.files+3)
	require.LessOrEqual(t, last.heap, first.heap+(8<<20))
	end := m.Count() + 10_000_000
	m.Run(end)
	twin := newTiny(t, 16, "hog 1 0 rand", 3_000_000)
	twin.Run(end)
	require.Equal(t, hash(t, twin), hash(t, m))
	require.NoError(t, m.Close())
	require.NoError(t, twin.Close())
}

// usage is what this process has in use.
type usage struct {
	goroutines, files int
	heap              uint64 // bytes
}

// used looks once what is about to end has ended.
func used() (u usage) {
	for range 50 {
		runtime.GC()
		n := runtime.NumGoroutine()
		if time.Sleep(2 * time.Millisecond); n == u.goroutines {
			break
		}
		u.goroutines = n
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u.heap = m.HeapAlloc
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.files = len(fds)
	}
	return u
}
