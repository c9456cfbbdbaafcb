package disk

import (
	"fmt"
	"math/bits"
)

// TrackBlock is the unit in which a drive notes what is written, in bytes.
const TrackBlock = 64 << 10

// tracker notes what is written to a drive.
type tracker struct {
	dirty  []uint64 // a bit for each block
	n      int
	budget int // < 0: no bound
}

// span is a range of bytes.
type span struct{ off, n int64 }

// Track begins to note which blocks are written, and Harvest takes those that were.
func (d *Drive) Track() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.track = &tracker{dirty: newBlocks(d.size), budget: -1}
}

func newBlocks(size int64) []uint64 {
	return make([]uint64, (size+64*TrackBlock-1)/(64*TrackBlock))
}

// Untrack ends that.
func (d *Drive) Untrack() {
	d.mu.Lock()
	d.track = nil
	d.mu.Unlock()
	d.change.Broadcast()
}

// Harvest takes the blocks written since Track or the last Harvest. A write that is
// under way counts when it is done: whoever reads a block after the harvest either
// finds it, or finds the block in the next one.
func (d *Drive) Harvest() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.track == nil {
		return nil
	}
	got := d.track.dirty
	d.track.dirty, d.track.n = newBlocks(d.size), 0
	d.change.Broadcast()
	return got
}

// Dirty is how many blocks were written since.
func (d *Drive) Dirty() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.track == nil {
		return 0
	}
	return d.track.n
}

// Clean tells whether a block was not written since the last Harvest, nor is being
// written now.
func (d *Drive) Clean(block uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, off := d.writing, int64(block)*TrackBlock
	return d.track != nil && d.track.dirty[block/64]>>(block%64)&1 == 0 && (w.off >= off+TrackBlock || w.off+w.n <= off)
}

// Budget bounds the blocks that are written between two harvests: a request that would
// write to more waits for the next, unless somebody waits for the drive to be done. One
// that exceeds it alone passes when nothing else was written. Negative: no bound.
func (d *Drive) Budget(blocks int) {
	d.mu.Lock()
	if d.track != nil {
		d.track.budget = blocks
	}
	d.mu.Unlock()
	d.change.Broadcast()
}

// Look reads what the disk holds now, beside the requests.
func (d *Drive) Look(p []byte, off int64) error {
	d.mu.Lock()
	img := d.img
	d.mu.Unlock()
	if img == nil {
		return fmt.Errorf("image %s is not open", d.path)
	}
	return img.ReadAt(p, off)
}

// Present has a bit for each block that may hold something: that is not known to be
// zeros; with above, that the image at the bottom of the chain does not hold.
func (d *Drive) Present(above bool) ([]uint64, error) {
	d.mu.Lock()
	img := d.img
	d.mu.Unlock()
	if img == nil {
		return nil, fmt.Errorf("image %s is not open", d.path)
	}
	set := newBlocks(d.size)
	return set, present(img, 0, d.size, above, set)
}

// present marks the blocks of a range of an image.
func present(img Image, off, n int64, above bool, set []uint64) error {
	if r, ok := img.(readOnly); ok {
		img = r.Image
	}
	q, _ := img.(*qcow2)
	bottom := q == nil || q.backing == nil
	if above && bottom {
		return nil
	}
	for end := off + n; off < end; {
		kind, n, err := img.Extent(off, end-off)
		if err != nil {
			return err
		}
		switch {
		case kind == Data, kind == Zero && above: // zeros hide what is below
			mark(set, off, n)
		case kind == Hole && !bottom && off < q.back:
			if err := present(q.backing, off, min(n, q.back-off), above, set); err != nil {
				return err
			}
		}
		off += n
	}
	return nil
}

// mark sets the bits of a range and returns how many were not.
func mark(set []uint64, off, n int64) (more int) {
	for b := off / TrackBlock; n > 0 && b <= (off+n-1)/TrackBlock; b++ {
		w, bit := &set[b/64], uint64(1)<<(b%64)
		if *w&bit == 0 {
			*w |= bit
			more++
		}
	}
	return more
}

// mayWrite waits until the budget allows a range to be written, which then begins.
func (d *Drive) mayWrite(off, n int64) {
	d.mu.Lock()
	defer func() {
		d.writing = span{off, n}
		d.mu.Unlock()
	}()
	for {
		t := d.track
		if t == nil || t.budget < 0 || t.n == 0 || d.waiting > 0 || d.closed {
			return
		}
		more := 0
		for b := off / TrackBlock; n > 0 && b <= (off+n-1)/TrackBlock; b++ {
			more += 1 - bits.OnesCount64(t.dirty[b/64]>>(b%64)&1)
		}
		if t.n+more <= t.budget || more == 0 {
			return
		}
		d.change.Wait()
	}
}

// written notes that a range was.
func (d *Drive) written(off, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writing = span{}
	if t := d.track; t != nil {
		t.n += mark(t.dirty, off, n)
	}
}
