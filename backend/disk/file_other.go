//go:build !linux

package disk

import "errors"

func (f *hostFile) Punch(int64, int64) error { return errors.ErrUnsupported }

func (f *hostFile) Data(off int64) (start, end int64, err error) {
	size, err := f.Size()
	return min(off, size), size, err
}
