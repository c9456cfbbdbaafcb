package migrate

import (
	"math/bits"

	"godwit/snapshot"
)

// Much of a guest's memory is its cache of a disk. A page that is a piece of a disk
// which has travelled goes as a reference to it. The leaf finds a candidate, its bytes
// decide: they are read from the disk again, whose block must be at the destination as
// it is.

// refSize is what a reference takes: the disk, and which piece of PageSize bytes.
const refSize = 5

// maxRefs bounds the pieces that are remembered.
const maxRefs = 1 << 20

// pieces remembers where on disks pages may be found.
type pieces struct {
	slot []piece
}

type piece struct {
	leaf [LeafSize]byte // zero: none
	disk uint8
	at   uint32
}

// grow makes room for so many pieces.
func (r *pieces) grow(n int) {
	if n = min(n, maxRefs); n > len(r.slot) {
		r.slot = make([]piece, 1<<bits.Len(uint(n-1)))
	}
}

func (r *pieces) find(leaf [LeafSize]byte) *piece {
	return &r.slot[int(le.Uint32(leaf[:]))&(len(r.slot)-1)]
}

// add remembers the pieces of a block.
func (r *pieces) add(disk uint8, block uint32, b []byte) {
	if len(r.slot) == 0 {
		return
	}
	for i := 0; i+PageSize <= len(b); i += PageSize {
		leaf := snapshot.LeafOf((*[PageSize]byte)(b[i:]))
		*r.find(leaf) = piece{leaf, disk, block*(BlockSize/PageSize) + uint32(i/PageSize)}
	}
}

// ref finds a page on a disk whose block the destination has as it is.
func (o *disksOut) ref(page *[PageSize]byte, leaf [LeafSize]byte) (*piece, bool) {
	if !o.on || len(o.pieces.slot) == 0 {
		return nil, false
	}
	p := o.pieces.find(leaf)
	if p.leaf != leaf {
		return nil, false
	}
	x, block := o.all[p.disk], p.at/(BlockSize/PageSize)
	if x.owed.has(block) || !x.d.Clean(block) {
		return nil, false
	}
	in := int(p.at%(BlockSize/PageSize)) * PageSize
	b := o.look[:blockLen(x.d.Size(), block)]
	if x.d.Read(block, b) != nil || [PageSize]byte(b[in:]) != *page {
		return nil, false
	}
	return p, x.d.Clean(block)
}

// put writes a reference.
func (p *piece) put(b []byte) {
	b[0] = p.disk
	le.PutUint32(b[1:], p.at)
}

// referred reads the piece of a disk that a page is.
func (d *Dest) referred(content []byte) ([]byte, error) {
	in, disk, at := &d.disks, int(content[0]), int64(le.Uint32(content[1:]))*PageSize
	if disk >= len(in.stores) || at+PageSize > in.sizes[disk] {
		return nil, errorf(Protocol, "a page is said to be at %d of disk %d, which is not here", at, disk)
	}
	if err := in.stores[disk].Read(d.page[:], at); err != nil {
		return nil, &Error{Code: Resources, Text: "read a disk", Err: err}
	}
	return d.page[:], nil
}
