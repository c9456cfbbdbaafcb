//go:build !linux && !darwin && !windows

package host

const systemName = "heap"

func mapSystem(size int) ([]byte, error) { return mapHeap(size) }

func unmapSystem(b []byte) error { return unmapHeap(b) }
