package boot

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/tests/testkit"
)

// cpuTime is what this process has used so far.
func cpuTime(t testing.TB) time.Duration {
	var r syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// TestBootCost boots Debian to its init and off, here and under QEMU's TCG in
// the same run, and compares host CPU seconds. The bar is ten times TCG's.
func TestBootCost(t *testing.T) {
	images := testkit.Debian(t)
	const cmdline = "console=ttyS0 godwit.run=true"
	m := newDebian(t, images, "godwit.run=true", &out{})
	before := cpuTime(t)
	require.Equal(t, machine.Off, m.Run(5_000_000_000))
	ours := cpuTime(t) - before
	t.Logf("godwit: %.2f s of CPU for %d counts, %.0f M/s", ours.Seconds(), m.Count(), float64(m.Count())/ours.Seconds()/1e6)

	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Log("qemu-system-x86_64 is not installed: nothing to compare with")
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "k"), images.Kernel, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "i"), images.Initrd, 0o600))
	cmd := exec.Command(qemu, "-M", "pc", "-accel", "tcg", "-m", "512", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none",
		"-kernel", filepath.Join(dir, "k"), "-initrd", filepath.Join(dir, "i"), "-append", cmdline)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.True(t, bytes.Contains(output, []byte("GUEST-OK run rc=0")), "%s", output)
	theirs := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	t.Logf("qemu:   %.2f s of CPU; ratio %.2f", theirs.Seconds(), ours.Seconds()/theirs.Seconds())
	require.Less(t, ours, 10*theirs)
}
