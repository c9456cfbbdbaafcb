package sim

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"godwit/migrate"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone, telling all")
	seedsFlag = flag.Uint64("seeds", 0, "how many seeds to run")
	afterFlag = flag.Uint64("after", 0, "run seeds that follow this one")
)

// TestSeeds runs scenarios with faults, every one of which must end with one
// owner at most and a guest that lost nothing.
func TestSeeds(t *testing.T) {
	t.Parallel()
	if *seedFlag != 0 {
		sc := FromSeed(*seedFlag)
		t.Logf("%+v", sc)
		sc.Events = func(side string, e migrate.Event) {
			fmt.Printf("%-11s %12v %s %s %s %s\n", side, e.T, e.Stage, e.What, e.Mode, e.Reason)
		}
		res, err := Run(sc)
		t.Logf("%+v", res)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	n := uint64(10_000)
	if os.Getenv("GODWIT_FULL") != "" {
		n = 1_000_000
	}
	if *seedsFlag != 0 {
		n = *seedsFlag
	}
	var next, failed atomic.Uint64
	var mu sync.Mutex
	ends := map[string]int{}
	var wg sync.WaitGroup
	began := time.Now()
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for failed.Load() < 10 {
				seed := next.Add(1)
				if seed > n {
					return
				}
				seed += *afterFlag
				res, err := Run(FromSeed(seed))
				if err != nil {
					failed.Add(1)
					t.Errorf("seed %d: %v (again: go test ./migrate/sim -run TestSeeds -seed %d -v)", seed, err, seed)
				}
				if res != nil {
					mu.Lock()
					ends[end(res)]++
					mu.Unlock()
				}
			}
		}()
	}
	wg.Wait()
	t.Logf("%d seeds in %v: %v", n, time.Since(began).Round(time.Second), ends)
}

func end(r *Result) string {
	switch {
	case r.RunsAtDest && r.SourceErr == nil:
		return "moved"
	case r.RunsAtDest:
		return "runs there, the source does not know"
	case r.RunsAtSource:
		return "runs here"
	}
	return "nowhere: a host died"
}
