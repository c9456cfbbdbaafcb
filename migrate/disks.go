package migrate

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"godwit/snapshot"
)

// BlockSize is the unit in which disks are tracked and travel, in bytes. The last
// block of a disk may be shorter.
const BlockSize = 64 << 10

// Disk is a disk at the source whose content travels. Any goroutine may call it.
type Disk interface {
	Size() int64
	// Track begins to note which blocks are written, and says which travel in any
	// case: those that may differ from what the destination has to begin with.
	Track() ([]uint64, error)
	// Harvest takes the blocks written since Track or the last Harvest.
	Harvest() []uint64
	// Dirty is how many these are now.
	Dirty() int
	// Clean tells whether a block was not written since the last Harvest, nor is
	// being written now.
	Clean(block uint32) bool
	// Read copies a block as it is now.
	Read(block uint32, b []byte) error
	// Budget bounds the blocks written between two harvests: a request that exceeds
	// it waits. Negative: no bound.
	Budget(blocks int)
	// Untrack ends it all. Idempotent.
	Untrack()
}

// DiskGuest is a Guest whose disks travel with it.
type DiskGuest interface {
	Guest
	// Disks are those that travel, in the order of the machine's configuration.
	Disks() []Disk
}

// Store is where a disk arrives. Until the destination owns the guest, nobody else
// uses it.
type Store interface {
	Size() int64
	// Write puts bytes at an offset.
	Write(b []byte, off int64) error
	// Read copies what was put there.
	Read(b []byte, off int64) error
	// Zero makes a range read as zeros.
	Zero(off, n int64) error
	// Flush returns once all of it is on stable storage.
	Flush() error
}

// DiskBuilder is a Builder that takes disks.
type DiskBuilder interface {
	Builder
	// Copies is how many disks the configuration wants to be copied.
	Copies(config []snapshot.Section) int
	// Stores are where they arrive, in order, once the machine is reserved.
	Stores() []Store
}

// DiskStats counts blocks of disks.
type DiskStats struct {
	Blocks uint64 `json:"blocks"`
	Zero   uint64 `json:"zero"` // of these, without content
	Raw    uint64 `json:"raw"`  // bytes of the disks
	Wire   uint64 `json:"wire"` // bytes on the connection, framing included
}

func blocksOf(size int64) uint32 { return uint32((size + BlockSize - 1) / BlockSize) }

// blockLen is how long a block is.
func blockLen(size int64, block uint32) int {
	return int(min(BlockSize, size-int64(block)*BlockSize))
}

// blockTable has the leaves of a disk's blocks: xxh3-128, and of blocks of zeros, or
// that never came, the leaf of a page of zeros.
type blockTable struct {
	size   int64
	groups map[uint32]*blockGroup
}

type blockGroup struct {
	leaf  [snapshot.GroupPages][LeafSize]byte
	sum   [DigestSize]byte
	fresh bool
	zero  bool // all leaves are those of zeros: as if it were not there
}

func newBlockTable(size int64) *blockTable {
	return &blockTable{size: size, groups: map[uint32]*blockGroup{}}
}

var zeroLeaves = func() (l [snapshot.GroupPages][LeafSize]byte) {
	for i := range l {
		l[i] = snapshot.ZeroLeaf()
	}
	return l
}()

func (t *blockTable) set(block uint32, leaf [LeafSize]byte) {
	g := t.groups[block/snapshot.GroupPages]
	if g == nil {
		if leaf == zeroLeaf {
			return
		}
		g = &blockGroup{leaf: zeroLeaves}
		t.groups[block/snapshot.GroupPages] = g
	}
	if l := &g.leaf[block%snapshot.GroupPages]; *l != leaf {
		*l, g.fresh = leaf, false
	}
}

// refresh computes the digests of the groups that have changed.
func (t *blockTable) refresh() {
	for n, g := range t.groups {
		if !g.fresh {
			g.sum = snapshot.Group(n, blocksOf(t.size), func(b uint32) [LeafSize]byte { return g.leaf[b%snapshot.GroupPages] })
			g.fresh, g.zero = true, g.leaf == zeroLeaves
		}
	}
}

// disksRoot covers the content of all disks that have travelled.
func disksRoot(tables []*blockTable) []byte {
	if len(tables) == 0 {
		return nil
	}
	h := sha256.New()
	h.Write([]byte("godwit-disks-1\x00\x00"))
	for _, t := range tables {
		t.refresh()
		var order []uint32
		for n, g := range t.groups {
			if !g.zero {
				order = append(order, n)
			}
		}
		slices.Sort(order)
		h.Write(le.AppendUint64(le.AppendUint64(nil, uint64(t.size)), uint64(len(order))))
		for _, n := range order {
			h.Write(le.AppendUint32(nil, n))
			h.Write(t.groups[n].sum[:])
		}
	}
	return h.Sum(nil)
}

// leafOfBlock is a block's leaf.
func leafOfBlock(b []byte) [LeafSize]byte { return xxh3.Hash128(b).Bytes() }

// Bounds and layout of a BLOCKS frame.
const (
	blocksHead     = 16
	maxFrameBlocks = 8192
)

// blocksFrame is a stretch of blocks of one disk.
type blocksFrame struct {
	disk   uint8
	first  uint32
	kinds  []byte // Zero or Raw
	data   []byte // of the raw ones, end to end
	packed int
}

// payload encodes it.
func (f *blocksFrame) payload(c *chooser, spare []byte) []byte {
	packed, codec := c.pack(f.data, spare)
	data := f.data
	if codec != snapshot.None {
		data = spare[:packed]
	}
	b := make([]byte, 0, blocksHead+len(f.kinds)+packed)
	b = append(b, f.disk, byte(codec))
	b = le.AppendUint16(b, uint16(len(f.kinds)))
	b = le.AppendUint32(b, f.first)
	b = le.AppendUint32(b, uint32(packed))
	b = le.AppendUint32(b, uint32(len(f.data)))
	b = append(b, f.kinds...)
	return append(b, data...)
}

// decodeBlocks takes a payload apart; all of it is hostile. The result refers to it, or
// to buf, which is grown.
func decodeBlocks(p []byte, sizes []int64, buf *[]byte, unpack *snapshot.Unpacker) (*blocksFrame, error) {
	if len(p) < blocksHead {
		return nil, fmt.Errorf("%d bytes, at least %d", len(p), blocksHead)
	}
	f := &blocksFrame{disk: p[0], first: le.Uint32(p[4:])}
	codec, n := snapshot.Codec(p[1]), int(le.Uint16(p[2:]))
	packed, raw := le.Uint32(p[8:]), le.Uint32(p[12:])
	if int(f.disk) >= len(sizes) {
		return nil, fmt.Errorf("disk %d of %d", f.disk, len(sizes))
	}
	size := sizes[f.disk]
	if n == 0 || n > maxFrameBlocks || uint64(f.first)+uint64(n) > uint64(blocksOf(size)) || raw > maxBatchBytes {
		return nil, fmt.Errorf("%d blocks from %d on of %d, with %d bytes", n, f.first, blocksOf(size), raw)
	}
	if uint64(len(p)) != blocksHead+uint64(n)+uint64(packed) {
		return nil, fmt.Errorf("%d bytes, want %d blocks and %d bytes of content", len(p), n, packed)
	}
	f.kinds, f.data, f.packed = p[blocksHead:blocksHead+n], p[blocksHead+n:], int(packed)
	if codec != snapshot.None {
		*buf = slices.Grow((*buf)[:0], maxBatchBytes)[:raw]
		if err := unpack.Unpack(*buf, f.data, codec); err != nil {
			return nil, err
		}
		f.data = *buf
	}
	want := 0
	for i, k := range f.kinds {
		switch Kind(k) {
		case Zero:
		case Raw:
			want += blockLen(size, f.first+uint32(i))
		default:
			return nil, fmt.Errorf("block %d is of %s, which is not spoken here", f.first+uint32(i), Kind(k))
		}
	}
	if want != int(raw) || want != len(f.data) {
		return nil, fmt.Errorf("%d bytes of content, announced are %d, the blocks have %d", len(f.data), raw, want)
	}
	return f, nil
}

// count adds the frame to statistics.
func (f *blocksFrame) count(s *DiskStats, size int64, wire int) {
	for i, k := range f.kinds {
		s.Blocks++
		s.Raw += uint64(blockLen(size, f.first+uint32(i)))
		if Kind(k) == Zero {
			s.Zero++
		}
	}
	s.Wire += uint64(wire)
}

// errNoCopies is said to a source whose peer does not take disks.
var errNoCopies = errors.New("its godwit does not take disks")

// allZero tells whether all bytes are zero.
func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
