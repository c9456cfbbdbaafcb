//go:build linux && amd64

package programs

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPrograms compares what programs print in the guest and on the host. All of
// them start from one saved boot.
func TestPrograms(t *testing.T) {
	im, _ := images(t)
	host := unpack(t, im.Initrd)
	path := saved(t, atPrompt(t, 1))
	for _, p := range programs {
		t.Run(p, func(t *testing.T) {
			cmd := "test-" + p
			if p == "gcc" && full() {
				cmd = "LEVELS='-O0 -O1 -O2 -O3 -Os' test-gcc"
			}
			want := onHost(t, host, cmd)
			require.Greater(t, strings.Count(want, "\n"), 10)
			m, o := resumed(t, path)
			before := m.Count()
			require.Equal(t, want, typed(t, m, o, cmd, 20_000_000_000))
			t.Logf("%d lines, %d M counts", strings.Count(want, "\n"), (m.Count()-before)/1_000_000)
		})
	}
}

// stressors of stress-ng with --verify, and how many operations each does.
var stressors = []struct{ name, options, ops string }{
	{"cpu", "--cpu-method all", "400"},
	{"vm", "--vm-bytes 4M --vm-method all", "20000"},
	{"fp", "--fp-method all", "100"},
	{"matrix", "--matrix-size 32", "8000"},
}

// TestStress has stress-ng check arithmetic, memory and floating point.
func TestStress(t *testing.T) {
	long(t)
	path := saved(t, atPrompt(t, 1))
	for _, s := range stressors {
		t.Run(s.name, func(t *testing.T) {
			m, o := resumed(t, path)
			before := m.Count()
			stressed(t, typed(t, m, o, "stress-ng --verify --"+s.name+" 1 --"+s.name+"-ops "+s.ops+" "+s.options, 60_000_000_000))
			t.Logf("%d M counts", (m.Count()-before)/1_000_000)
		})
	}
}

// long leaves a test to make full.
func long(t *testing.T) {
	if !full() {
		t.Skip("minutes of CPU time: GODWIT_FULL=1")
	}
}

// stressed tells of what stress-ng complains.
func stressed(t *testing.T, text string) {
	require.Contains(t, text, "successful run completed", "%s", text)
	for _, bad := range []string{"fail:", "error:", "untrustworthy", "unsuccessful"} {
		require.NotContains(t, text, bad)
	}
}

// TestStressSMP runs stressors on four vCPUs at once: arithmetic, memory and its
// page tables, switches, processes, futexes, mutexes, timers.
func TestStressSMP(t *testing.T) {
	long(t)
	m := atPrompt(t, 4)
	o := &out{}
	m.SetHost(o)
	text := typed(t, m, o, "stress-ng --verify -t 20s --cpu 4 --vm 2 --vm-bytes 8M --switch 2 --fork 2 --futex 2 --mutex 2 --timer 2 --mmap 2 --tlb-shootdown 2", 60_000_000_000)
	stressed(t, text)
	text = typed(t, m, o, "dmesg | grep -cE 'BUG|Oops|WARNING|soft lockup|stall'||true", 1_000_000_000)
	require.Equal(t, "0", strings.TrimSpace(text[strings.LastIndex(strings.TrimSpace(text), "\n")+1:]))
	t.Logf("%d M counts", m.Count()/1_000_000)
}
