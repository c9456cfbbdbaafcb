package boot

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
	"godwit/tests/testkit"
)

func newDebian(t testing.TB, images machine.Images, cmdline string, h machine.Host) *machine.Machine {
	cfg := machine.DefaultConfig()
	cfg.Append = "console=ttyS0 " + cmdline
	m, err := machine.New(cfg, images, h)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m
}

func TestDebianRunsAndPowersOff(t *testing.T) {
	o := &out{}
	m := newDebian(t, testkit.Debian(t), `godwit.run="uname -a; cat /proc/cpuinfo /proc/interrupts"`, o)
	s := m.Run(5_000_000_000)
	t.Logf("%s at #%d", s, m.Count())
	require.Equal(t, machine.Off, s, "%s", tail(o))
	require.Contains(t, o.String(), "GUEST-OK init")
	require.Contains(t, o.String(), "GUEST-OK run rc=0")
	for _, bad := range []string{"Oops", "BUG:", "WARNING:", "Call Trace", "invalid opcode", "segfault"} {
		require.NotContains(t, o.String(), bad, "%s", tail(o))
	}
}

func tail(o *out) string {
	s := o.String()
	return s[max(0, len(s)-3000):]
}

// TestDebianShell talks to a shell on the serial console.
func TestDebianShell(t *testing.T) {
	m, a := talk(t, 1, "echo $((6*7)) > /tmp/x; sha256sum /bin/busybox; cat /tmp/x", "dmesg | grep -c .", "poweroff -f")
	s := m.Run(8_000_000_000)
	require.Equal(t, machine.Off, s, "%s", tail(&a.out))
	require.Contains(t, a.String(), "\r\n42\r\n")
}

const mark = 200_000_000

func hexHash(t testing.TB, m *machine.Machine) string {
	h := hash(t, m)
	return hex.EncodeToString(h[:])
}

// TestDebianReference compares the engines over the first counts of a boot; in
// the full form over all of it, from the first instruction to the power off, with
// programs that run in user mode.
func TestDebianReference(t *testing.T) {
	images := testkit.Debian(t)
	limit, every := uint64(mark/8), uint64(mark/64)
	run := ""
	if os.Getenv("GODWIT_FULL") != "" {
		limit, every = 5_000_000_000, 50_000_000
		run = `godwit.run="uname -a; cat /proc/cpuinfo /proc/interrupts; sha256sum /bin/busybox"`
	}
	o := &out{}
	a := newDebian(t, images, run, o)
	b := newDebian(t, images, run, &out{})
	b.SetEngine(machine.EngineReference)
	n, s := every, machine.Reached
	for ; n <= limit && s == machine.Reached; n += every {
		s = a.Run(n)
		require.Equal(t, s, b.Run(n), "at #%d", n)
		require.Equal(t, dump(t, b), dump(t, a), "at #%d", n)
		require.Equal(t, hash(t, b), hash(t, a), "memory at #%d", n)
	}
	if run != "" {
		require.Equal(t, machine.Off, s, "%s", tail(o))
		t.Logf("equal at %d counts, up to the power off at #%d", n/every-1, a.Count())
	}
}

func suspended(t *testing.T, ctx context.Context, m *machine.Machine) *machine.Machine {
	path := filepath.Join(t.TempDir(), "vm")
	_, err := m.Save(ctx, snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
	require.NoError(t, err)
	next := load(t, path, &out{})
	require.NoError(t, os.Remove(path))
	require.NoError(t, m.Close())
	return next
}

func sent(t *testing.T, m *machine.Machine) *machine.Machine {
	next := testkit.Move(t, m, &out{}, migrate.ModeStop)
	require.NoError(t, m.Close())
	return next
}
