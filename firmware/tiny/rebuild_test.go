//go:build linux && amd64

package tiny

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRebuild builds the sources again. The recorded toolchain must give the
// committed bytes; any other must give an image that is as good in structure.
func TestRebuild(t *testing.T) {
	for _, tool := range []string{"gcc", "ld", "strip"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "true" {
				t.Skipf("%s is not installed", tool)
			}
			require.NoError(t, err)
		}
	}
	out := filepath.Join(t.TempDir(), "tiny.elf")
	cmd := exec.Command("sh", "build.sh", out)
	cmd.Env = append(os.Environ(), "CC=gcc", "LD=ld", "STRIP=strip")
	log, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", log)
	require.Empty(t, string(log), "the build warns")
	image, err := os.ReadFile(out)
	require.NoError(t, err)
	checkImage(t, image)
	if toolchain(t) == recorded(t) {
		require.Equal(t, Image, image, "tiny.elf is stale: run firmware/tiny/build.sh -r and commit it")
	}
}

func recorded(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("toolchain.txt")
	require.NoError(t, err)
	return string(b)
}

// toolchain describes the installed tools as build.sh -r records them.
func toolchain(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, tool := range []string{"gcc", "ld"} {
		out, err := exec.Command(tool, "--version").Output()
		require.NoError(t, err)
		first, _, _ := strings.Cut(string(out), "\n")
		b.WriteString(first + "\n")
	}
	return b.String()
}
