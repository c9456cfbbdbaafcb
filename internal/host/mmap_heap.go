package host

import "errors"

// mapHeap is the twin for hosts without a mapping of their own. Large slices
// come from the operating system, zeroed and untouched, so here too memory that
// is never used costs little. A slice of 4096 bytes or more starts at a page.
func mapHeap(size int) (b []byte, err error) {
	defer func() {
		if recover() != nil { // makeslice: len out of range
			b, err = nil, errors.New("out of memory")
		}
	}()
	return make([]byte, size), nil
}

func unmapHeap([]byte) error { return nil }
