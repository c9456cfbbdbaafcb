package guest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRealPackages makes the guest of Debian's own packages and, where QEMU is,
// boots it.
func TestRealPackages(t *testing.T) {
	ci := os.Getenv("CI") == "true"
	if !ci && os.Getenv("GODWIT_FULL") == "" {
		t.Skip("needs the network: GODWIT_FULL=1")
	}
	if !haveApt() {
		require.False(t, ci, "CI must have apt")
		t.Skip("no apt on this host")
	}
	o := Options{Dir: t.TempDir(), Cache: t.TempDir()}
	r, err := Debian(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, r.Packages, 2)
	require.True(t, strings.HasPrefix(r.Release, "6.1.0-"), "%s", r.Release)
	require.Subset(t, r.Modules, []string{"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "virtio_balloon"})
	initrd, err := os.ReadFile(r.Initrd.Path)
	require.NoError(t, err)
	require.Contains(t, listing(t, initrd), "/kernel/drivers/char/hw_random/virtio-rng.ko ")

	o.Dir = t.TempDir()
	again, err := Debian(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, r.Initrd.SHA256, again.Initrd.SHA256)
	require.Equal(t, r.Kernel.SHA256, again.Kernel.SHA256)
	boot(t, r)
}

func boot(t *testing.T, r *Result) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return // the boots of godwit itself are in tests/boot
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, qemu, "-accel", "tcg", "-m", "256", "-nographic", "-no-reboot", "-vga", "none", "-nic", "none",
		"-kernel", r.Kernel.Path, "-initrd", r.Initrd.Path, "-device", "virtio-rng-pci", "-append",
		`console=ttyS0 quiet godwit.run="cat /sys/class/misc/hw_random/rng_current; head -c 4 /dev/hwrng | wc -c"`).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, want := range []string{"GUEST-OK init", "GUEST-OK modules rc=0", "virtio_rng.0", "\n4\r", "GUEST-OK run rc=0", "Power down"} {
		require.Contains(t, string(out), want)
	}
}
