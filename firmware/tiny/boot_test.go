//go:build linux

package tiny

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite testdata/transcript.txt from what QEMU says")

const transcript = "testdata/transcript.txt"

// commands is a run= list whose output depends on the image alone, not on the
// machine's speed, memory or processor model (if that has NX and LAHF).
const commands = "selftest; count 3; spin 1; hog 2 0 seq 2; check; hog 2 0 page 2; check; " +
	"hog 2 0 rand 2; check; hog 2 0 zero 2; check; hog 2 0 alt 2; check; poweroff"

// TestTranscript boots the committed image under QEMU, which shares no code with
// this project, and compares every line with the recorded ones. Boots on our own
// machine have to give the same transcript.
func TestTranscript(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		if os.Getenv("CI") != "true" {
			t.Skip("qemu-system-x86_64 is not installed")
		}
		require.NoError(t, err)
	}
	cmd := exec.CommandContext(t.Context(), "qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "64",
		"-nic", "none", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
		"-kernel", "tiny.elf", "-append", "run="+commands)
	out, err := cmd.Output()
	require.NoError(t, err, "%s", out)
	_, text, found := bytes.Cut(out, []byte("tiny: "))
	require.True(t, found, "no banner in %q", out)
	have := "tiny: " + strings.ReplaceAll(string(text), "\r\n", "\n")
	require.NotContains(t, have, "\r", "every line ends in CR LF")
	if *update {
		require.NoError(t, os.WriteFile(transcript, []byte(have), 0o644))
	}
	want, err := os.ReadFile(transcript)
	require.NoError(t, err)
	require.Equal(t, string(want), have)
	require.Regexp(t, `selftest: \d+ ok\n`, have)
	require.NotContains(t, have, "BAD")
}
