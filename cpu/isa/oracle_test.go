package isa

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// objdumpLine is one instruction as GNU objdump shows it.
type objdumpLine struct {
	pc   uint64
	code []byte
	text string
}

// needTool skips a test without the tool, except in continuous integration.
func needTool(t *testing.T, name string) {
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", name)
	}
	t.Skipf("%s is missing", name)
}

func objdump(t *testing.T, args ...string) []objdumpLine {
	out, err := exec.Command("objdump", append([]string{"-w", "-z"}, args...)...).Output()
	require.NoError(t, err)
	var lines []objdumpLine
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), "\t", 3)
		if len(f) < 2 || !strings.HasSuffix(f[0], ":") {
			continue
		}
		pc, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(f[0], ":")), 16, 64)
		if err != nil {
			continue
		}
		code, err := hex.DecodeString(strings.ReplaceAll(f[1], " ", ""))
		require.NoError(t, err)
		text := ""
		if len(f) == 3 {
			text, _, _ = strings.Cut(f[2], "#")
			text = strings.TrimSpace(text)
		}
		lines = append(lines, objdumpLine{pc, code, text})
	}
	return lines
}
