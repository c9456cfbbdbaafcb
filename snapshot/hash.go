package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/zeebo/xxh3"
)

// Sizes of the state hash [docs/format/hash.md].
const (
	LeafSize   = 16  // bytes of a page's leaf
	DigestSize = 32  // bytes of a group digest and of the root
	GroupPages = 512 // pages of a group: 2 MiB
)

// Domain separators: what is hashed can never be mistaken for the other kind.
const (
	magicLeaves = "godwit-leaves-1\x00"
	magicState  = "godwit-state-1\x00\x00"
)

// LeafOf is the leaf of one page: xxh3-128, seed 0, high half first, each half
// big endian (xxHash's canonical form).
func LeafOf(b *[PageSize]byte) [LeafSize]byte { return xxh3.Hash128(b[:]).Bytes() }

// ZeroLeaf is the leaf of a page of zeros, and of a page that was never written.
func ZeroLeaf() [LeafSize]byte { return zeroLeaf }

// Constants of docs/format/hash.md; a test computes them again.
var (
	zeroLeaf  = LeafOf(&zeroPage)
	zeroGroup = digestLeaves(zeroLeaves())
)

func zeroLeaves() []byte {
	b := make([]byte, 0, GroupPages*LeafSize)
	for range GroupPages {
		b = append(b, zeroLeaf[:]...)
	}
	return b
}

// digestLeaves is the digest of a group, from its leaves end to end.
func digestLeaves(leaves []byte) [DigestSize]byte {
	var buf [len(magicLeaves) + GroupPages*LeafSize]byte
	n := copy(buf[:], magicLeaves)
	n += copy(buf[n:], leaves)
	return sha256.Sum256(buf[:n])
}

// Groups is how many groups a number of pages makes; the last may be short.
func Groups(pages uint32) uint32 {
	return uint32((uint64(pages) + GroupPages - 1) / GroupPages)
}

// groupSize is how many pages group g has.
func groupSize(g, pages uint32) int {
	return int(min(GroupPages, uint64(pages)-uint64(g)*GroupPages))
}

// Group is the digest of group g of a memory of so many pages.
// Preconditions: g < Groups(pages).
func Group(g, pages uint32, leaf func(p uint32) [LeafSize]byte) [DigestSize]byte {
	var buf [GroupPages * LeafSize]byte
	n := groupSize(g, pages)
	zero := n == GroupPages
	for i := range n {
		l := leaf(g*GroupPages + uint32(i))
		zero = zero && l == zeroLeaf
		copy(buf[i*LeafSize:], l[:])
	}
	if zero {
		return zeroGroup
	}
	return digestLeaves(buf[:n*LeafSize])
}

// Root is the state hash of a machine: memory given by its leaves, and those of
// the sections that are State, in any order.
func Root(pages uint32, leaf func(p uint32) [LeafSize]byte, secs []Section) ([DigestSize]byte, error) {
	return RootOfGroups(pages, func(g uint32) [DigestSize]byte { return Group(g, pages, leaf) }, secs)
}

// RootOfGroups is Root for a caller that keeps the group digests, so that only
// groups with dirty pages are hashed again.
func RootOfGroups(pages uint32, group func(g uint32) [DigestSize]byte, secs []Section) ([DigestSize]byte, error) {
	sorted, err := Sorted(secs)
	if err != nil {
		return [DigestSize]byte{}, fmt.Errorf("state hash: %w", err)
	}
	var sums []sectionSum
	for i := range sorted {
		if sorted[i].State {
			sums = append(sums, sumSection(&sorted[i]))
		}
	}
	return rootOf(pages, group, sums), nil
}

// sectionSum is what the root takes of a state section.
type sectionSum struct {
	name, instance string
	version        uint16
	size           uint64
	sum            [DigestSize]byte // sha256 of the data
}

func sumSection(s *Section) sectionSum {
	return sectionSum{s.Name, s.Instance, s.Version, uint64(len(s.Data)), sha256.Sum256(s.Data)}
}

// rootOf hashes the canonical byte string of docs/format/hash.md.
// Preconditions: secs are sorted by (name, instance).
func rootOf(pages uint32, group func(g uint32) [DigestSize]byte, secs []sectionSum) (root [DigestSize]byte) {
	h := sha256.New()
	h.Write([]byte(magicState))
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(pages)))
	for g := range Groups(pages) {
		d := group(g)
		h.Write(d[:])
	}
	h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(secs))))
	for i := range secs {
		secs[i].writeTo(h)
	}
	h.Sum(root[:0])
	return root
}

func (s *sectionSum) writeTo(h hash.Hash) {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, uint16(len(s.name)))
	b = append(b, s.name...)
	b = le.AppendUint16(b, uint16(len(s.instance)))
	b = append(b, s.instance...)
	b = le.AppendUint16(b, s.version)
	b = le.AppendUint64(b, s.size)
	h.Write(append(b, s.sum[:]...))
}
