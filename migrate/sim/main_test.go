package sim

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets garbage wait: a run leaves some MB of it and keeps nothing, so that
// most of the collector's time would go into looking at next to nothing.
func TestMain(m *testing.M) {
	debug.SetGCPercent(1000)
	os.Exit(m.Run())
}
