//go:build linux || darwin

package host

import "golang.org/x/sys/unix"

const systemName = "mmap"

// mapSystem asks for private anonymous memory that reserves no swap: a guest may
// be given more RAM than the host has, as long as it does not use it.
func mapSystem(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
}

func unmapSystem(b []byte) error { return unix.Munmap(b) }
