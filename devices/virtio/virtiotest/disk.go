package virtiotest

import (
	"context"
	"fmt"
)

// Disk is the host's side of a block device: bytes in memory, worked on at once or,
// with Hold, when told to.
type Disk struct {
	B    []byte
	RO   bool
	Hold bool
	Log  func(format string, args ...any) // told of what begins; nil: nobody

	waiting  []func() []byte
	finished [][]byte
	forgot   int // of those waiting
}

// Size is in bytes.
func (d *Disk) Size() int64 { return int64(len(d.B)) }

// ReadOnly tells whether it may be written.
func (d *Disk) ReadOnly() bool { return d.RO }

func (d *Disk) begin(what string, f func() []byte) {
	if d.Log != nil {
		d.Log("%s", what)
	}
	d.waiting = append(d.waiting, f)
	if !d.Hold {
		d.Work(1)
	}
}

// Work finishes n requests.
func (d *Disk) Work(n int) {
	for ; n > 0 && len(d.waiting) > 0; n-- {
		data := d.waiting[0]()
		d.waiting = d.waiting[1:]
		if d.forgot > 0 {
			d.forgot--
		} else {
			d.finished = append(d.finished, data)
		}
	}
}

// Read reads.
func (d *Disk) Read(n, off int64) {
	d.begin(fmt.Sprintf("read %d at %d", n, off), func() []byte { return append([]byte{}, d.B[off:off+n]...) })
}

// Write writes.
func (d *Disk) Write(p []byte, off int64, through bool) {
	d.begin(fmt.Sprintf("write %d at %d %t", len(p), off, through), func() []byte { copy(d.B[off:], p); return nil })
}

// Flush does nothing.
func (d *Disk) Flush() { d.begin("flush", func() []byte { return nil }) }

// Discard zeroes.
func (d *Disk) Discard(off, n int64) {
	d.begin(fmt.Sprintf("discard %d at %d", n, off), func() []byte { clear(d.B[off : off+n]); return nil })
}

// WriteZeroes zeroes.
func (d *Disk) WriteZeroes(off, n int64, unmap bool) {
	d.begin(fmt.Sprintf("zero %d at %d %t", n, off, unmap), func() []byte { clear(d.B[off : off+n]); return nil })
}

// Collect gives the oldest result.
func (d *Disk) Collect() (data []byte, ok bool) {
	if len(d.finished) == 0 {
		return nil, false
	}
	data, d.finished = d.finished[0], d.finished[1:]
	return data, true
}

// Forget leaves out what was begun.
func (d *Disk) Forget() { d.forgot, d.finished = len(d.waiting), nil }

// Drain finishes everything.
func (d *Disk) Drain(context.Context) error {
	d.Work(len(d.waiting))
	return nil
}
