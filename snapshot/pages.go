package snapshot

import "bytes"

// PageSize is the unit of memory, in bytes.
const PageSize = 4096

// Pages is the memory of a machine at one moment, by arena page: RAM first, then
// the ROM and VRAM regions in arena order. Holes of the guest's physical address
// space have no pages. Each page is read once, ascending.
type Pages interface {
	Pages() uint32                    // how many
	Present(p uint32) bool            // false: never written, so all zero
	Read(p uint32, b *[PageSize]byte) // content
}

// Hashed is implemented by Pages that recorded their hashes independently.
type Hashed interface {
	Leaf(p uint32) [LeafSize]byte // LeafOf the content
}

// Failing is implemented by Pages that can fail to be read: what Read gave is not
// to be used once Err is not nil.
type Failing interface{ Err() error }

// Sink is memory being filled. It starts as all zero; pages that are zero are
// not restored. b is PageSize bytes, valid during the call only.
type Sink interface {
	Restore(p uint32, b []byte) error
}

var zeroPage [PageSize]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeroPage[:len(b)]) }
