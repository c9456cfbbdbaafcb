//go:build unix

package control

import (
	"fmt"
	"os"
	"syscall"
)

// private checks that a folder in a public place is the user's and only the
// user's.
func private(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !fi.IsDir() || fi.Mode().Perm() != 0o700 || ok && int(st.Uid) != os.Getuid() {
		return fmt.Errorf("%s is not a folder of mode 0700 that belongs to user %d", dir, os.Getuid())
	}
	return nil
}
