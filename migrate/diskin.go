package migrate

import (
	"bytes"
	"fmt"
	"time"

	"godwit/snapshot"
)

// disksIn is the disks at the destination.
type disksIn struct {
	stores []Store
	sizes  []int64
	tables []*blockTable
	since  int // bytes written since a flush
	buf    []byte
	unpack snapshot.Unpacker
}

// flushEvery bounds how long a flush takes: after so many bytes there is one.
const flushEvery = 32 << 20

// begin takes over where the disks are to arrive.
func (d *disksIn) begin(b Builder) {
	*d = disksIn{}
	db, ok := b.(DiskBuilder)
	if !ok {
		return
	}
	for _, s := range db.Stores() {
		d.stores = append(d.stores, s)
		d.sizes = append(d.sizes, s.Size())
		d.tables = append(d.tables, newBlockTable(s.Size()))
	}
}

// blocks puts blocks where they belong.
func (d *Dest) blocks(f *frame) error {
	in := &d.disks
	b, err := decodeBlocks(f.payload, in.sizes, &in.buf, &in.unpack)
	if err != nil {
		return &Error{Code: Protocol, Text: "frame BLOCKS", Err: err}
	}
	d.ready = false // ROOT comes again
	store, size := in.stores[b.disk], in.sizes[b.disk]
	b.count(&d.report.Disks, size, frameHead+len(f.payload)+frameTail)
	data := b.data
	for i, k := range b.kinds {
		block := b.first + uint32(i)
		n, off, leaf := blockLen(size, block), int64(block)*BlockSize, zeroLeaf
		if Kind(k) == Raw {
			leaf = leafOfBlock(data[:n])
			err = store.Write(data[:n], off)
			data = data[n:]
			in.since += n
		} else {
			err = store.Zero(off, int64(n))
		}
		if err != nil {
			return &Error{Code: Resources, Text: fmt.Sprintf("write disk %d", b.disk), Err: err}
		}
		in.tables[b.disk].set(block, leaf)
	}
	if now := d.now(); now-d.progress >= time.Second/progressHz {
		d.progress = now
		d.emit(Event{What: EventProgress, Round: d.pass, Done: d.report.Disks.Blocks, Unit: "blocks"})
	}
	if in.since >= flushEvery {
		return in.flush()
	}
	return nil
}

// flush brings all that arrived to stable storage.
func (d *disksIn) flush() error {
	d.since = 0
	for i, s := range d.stores {
		if err := s.Flush(); err != nil {
			return &Error{Code: Resources, Text: fmt.Sprintf("flush disk %d", i), Err: err}
		}
		d.tables[i].refresh()
	}
	return nil
}

// root covers what was written to all disks, and is there to stay.
func (d *disksIn) root() ([]byte, error) {
	if err := d.flush(); err != nil {
		return nil, err
	}
	return disksRoot(d.tables), nil
}

// sameDisks compares what both sides say of the disks.
func (s *Source) sameDisks(have []byte) error {
	if want := s.disks.root(); !bytes.Equal(want, have) {
		return errorf(RootsDiffer, "the disks that arrived have digest %x, those that were sent %x", have, want)
	}
	return nil
}
