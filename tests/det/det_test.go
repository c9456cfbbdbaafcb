// Package det proves determinism: the same configuration and inputs give the
// same state hash at the same count, however the machine is run, watched,
// interrupted, saved, restored or moved.
package det

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/firmware/tiny"
	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
	"godwit/tests/testkit"
)

var update = flag.Bool("update", false, "rewrite testdata/hashes.txt")

// work exercises arithmetic, paging, interrupts, idling, the serial port.
const work = "run=mem; hog 2 0 seq 2; hog 1 0 rand 2; spin 1; sleep 30; count 20; check; poweroff"

// marks are the counts at which all runs are compared; the last is beyond the
// guest's end.
var marks = []uint64{100_000, 1_000_000, 10_000_000, 1 << 40}

// quiet is a host that only collects output.
type quiet struct{ bytes.Buffer }

func (q *quiet) Poll() bool              { return false }
func (q *quiet) Idle(devices.Nanos) bool { return true }
func (q *quiet) Output(b byte)           { q.WriteByte(b) }

func config() machine.Config {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = 32<<20, work
	return cfg
}

func boot(t testing.TB) *machine.Machine {
	m, err := machine.New(config(), machine.Images{Kernel: tiny.Image}, &quiet{})
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	return m
}

func hash(t testing.TB, m *machine.Machine) string {
	h, err := m.Hash()
	require.NoError(t, err)
	return hex.EncodeToString(h[:])
}

//go:embed testdata/hashes.txt
var recorded string

// expected are the committed hashes at the marks: the same on every host.
func expected(t testing.TB) []string {
	want := strings.Fields(recorded)
	require.Len(t, want, len(marks), "record them with -update")
	return want
}

// visit runs a machine to each mark and checks its hash. At each of as many
// random counts below the last mark as asked for, disturb may do as it likes and
// return another machine.
func visit(t *testing.T, m *machine.Machine, disturbances int, seed uint64, disturb func(m *machine.Machine) *machine.Machine) {
	want := expected(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	counts := make([]uint64, disturbances)
	for i := range counts {
		counts[i] = rng.Uint64N(12_000_000)
	}
	slices.Sort(counts)
	for i, mark := range marks {
		for len(counts) > 0 && counts[0] < mark {
			require.Equal(t, machine.Reached, m.Run(counts[0]))
			require.Equal(t, counts[0], m.Count())
			m = disturb(m)
			counts = counts[1:]
		}
		m.Run(mark)
		require.Equal(t, want[i], hash(t, m), "state at #%d", m.Count())
	}
	require.NoError(t, m.Close())
}

func undisturbed(m *machine.Machine) *machine.Machine { return m }

func TestRecordedHashes(t *testing.T) {
	if *update {
		m := boot(t)
		var b strings.Builder
		for _, mark := range marks {
			m.Run(mark)
			fmt.Fprintln(&b, hash(t, m))
		}
		t.Logf("ended at #%d", m.Count())
		require.NoError(t, os.WriteFile("testdata/hashes.txt", []byte(b.String()), 0o644))
		return
	}
	for range 2 {
		visit(t, boot(t), 0, 0, undisturbed)
	}
}

func TestReferenceEngine(t *testing.T) {
	m := boot(t)
	m.SetEngine(machine.EngineReference)
	visit(t, m, 0, 0, undisturbed)
}

// TestEngineSwitches changes engines in mid-run.
func TestEngineSwitches(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	visit(t, boot(t), 60, 5, func(m *machine.Machine) *machine.Machine {
		m.SetEngine(machine.Engine(rng.IntN(2)))
		return m
	})
}

func TestTLBSizes(t *testing.T) {
	for _, size := range []int{1, 64, 4096} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			m := boot(t)
			m.CPUs()[0].SetTLBSize(size)
			visit(t, m, 200, uint64(size), func(m *machine.Machine) *machine.Machine {
				m.CPUs()[0].FlushTLB()
				return m
			})
		})
	}
}

func TestGOMAXPROCS(t *testing.T) {
	for _, n := range []int{1, 8} {
		old := runtime.GOMAXPROCS(n)
		visit(t, boot(t), 0, 0, undisturbed)
		runtime.GOMAXPROCS(old)
	}
}

// TestWatched harvests dirty pages, takes epochs, hashes and encodes the machine
// at random counts.
func TestWatched(t *testing.T) {
	m := boot(t)
	m.Memory().SetParanoid(true)
	c := m.Memory().Consumer("test")
	var bits []uint64
	visit(t, m, 200, 7, func(m *machine.Machine) *machine.Machine {
		bits = c.Harvest(bits)
		require.NoError(t, m.Memory().Check())
		m.Walk(0, 0xffffffff80000000)
		e := m.Memory().Epoch(64)
		var page [4096]byte
		e.Read(0, &page)
		e.Close()
		_, err := m.Sections()
		require.NoError(t, err)
		hash(t, m)
		return m
	})
}

func TestSuspendResume(t *testing.T) {
	dir, n := t.TempDir(), 0
	ctx := context.Background()
	visit(t, boot(t), 50, 11, func(m *machine.Machine) *machine.Machine {
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		_, err := m.Save(ctx, snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
		require.NoError(t, err)
		f, err := snapshot.Open(snapshot.Disk{}, path)
		require.NoError(t, err)
		defer f.Close()
		next, err := machine.Load(ctx, f, &quiet{})
		require.NoError(t, err)
		require.Equal(t, hash(t, m), hash(t, next))
		require.NoError(t, m.Close())
		return next
	})
	require.Equal(t, 50, n)
}

func TestSend(t *testing.T) {
	n := 0
	visit(t, boot(t), 50, 13, func(m *machine.Machine) *machine.Machine {
		n++
		next := testkit.Move(t, m, &quiet{}, migrate.ModeStop)
		require.NoError(t, m.Close())
		return next
	})
	require.Equal(t, 50, n)
}

// TestTenMillion checks the recorded hashes up to #10000000; see TestOtherHost.
func TestTenMillion(t *testing.T) {
	m := boot(t)
	for i, mark := range marks[:3] {
		m.Run(mark)
		require.Equal(t, expected(t)[i], hash(t, m), "state at #%d", mark)
	}
	require.NoError(t, m.Close())
}
