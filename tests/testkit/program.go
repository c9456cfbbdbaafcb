package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// WithProgram runs a package's tests with the path of godwit, which it builds.
func WithProgram(m *testing.M, godwit *string) (code int) {
	dir, err := os.MkdirTemp("", "godwit-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	*godwit = filepath.Join(dir, "godwit")
	if runtime.GOOS == "windows" {
		*godwit += ".exe"
	}
	c := exec.Command("go", "build", "-o", *godwit, "godwit/cmd/godwit")
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
