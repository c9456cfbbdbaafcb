// Package testkit holds what tests of whole machines and of the program share: the
// program, built once; guests; a move from one machine to the next.
package testkit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
)

// Guests is the folder where guests are kept between runs. GODWIT_GUESTS names it.
func Guests() string {
	if dir := os.Getenv("GODWIT_GUESTS"); dir != "" {
		return dir
	}
	dir, err := os.Getwd() // go test runs in the package's folder
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil || dir == filepath.Dir(dir) {
			break
		}
	}
	return filepath.Join(dir, ".cache", "guests")
}

// DebianFiles are the kernel and initrd that  make guest  leaves. Without them the
// test is left out, unless everything has to be tested.
func DebianFiles(t testing.TB) (kernel, initrd string) {
	t.Helper()
	kernel, initrd = filepath.Join(Guests(), "vmlinuz"), filepath.Join(Guests(), "initrd.img")
	_, err := os.Stat(kernel)
	if os.IsNotExist(err) && os.Getenv("CI") != "true" {
		t.Skip("no Debian guest: make guest")
	}
	require.NoError(t, err)
	return kernel, initrd
}

// Debian is what DebianFiles hold.
func Debian(t testing.TB) machine.Images {
	t.Helper()
	kernel, initrd := DebianFiles(t)
	return Images(t, kernel, initrd)
}

// Images reads a kernel and an initrd.
func Images(t testing.TB, kernel, initrd string) (im machine.Images) {
	t.Helper()
	for _, f := range []struct {
		path string
		to   *[]byte
	}{{kernel, &im.Kernel}, {initrd, &im.Initrd}} {
		var err error
		*f.to, err = os.ReadFile(f.path)
		require.NoError(t, err)
	}
	return im
}
