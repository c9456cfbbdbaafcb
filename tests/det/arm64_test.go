//go:build linux && amd64

package det

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOtherHost builds this package's tests for arm64 and runs the recorded
// hashes there, under QEMU's user mode emulation. Asynchronous preemption is
// off: the signals it uses upset that emulation.
func TestOtherHost(t *testing.T) {
	qemu := ""
	for _, name := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
		if p, err := exec.LookPath(name); err == nil {
			qemu = p
		}
	}
	if qemu == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("qemu-aarch64 is missing")
		}
		t.Skip("qemu-aarch64 is not installed")
	}
	bin := filepath.Join(t.TempDir(), "det.test")
	build := exec.Command("go", "test", "-c", "-o", bin, ".")
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := exec.Command(qemu, bin, "-test.run", "^TestTenMillion$", "-test.v")
	run.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	out, err = run.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestTenMillion")
}
