package machine

import (
	"math/bits"

	"godwit/snapshot"
)

// leafTable keeps leaves and group digests from one pass to the next, so that
// little is left to hash when the guest stands still.
type leafTable struct {
	leaf  [][snapshot.LeafSize]byte
	known []uint64 // a bit for each page: leaf is its content's
	group [][snapshot.DigestSize]byte
	fresh []uint64 // a bit for each group: group is the digest of its leaves
}

// newLeafTable is that of memory which is all zero.
func newLeafTable(pages uint32) *leafTable {
	t := &leafTable{leaf: make([][snapshot.LeafSize]byte, pages), known: ones(pages)}
	zero := snapshot.ZeroLeaf()
	for p := range t.leaf {
		t.leaf[p] = zero
	}
	groups := snapshot.Groups(pages)
	t.group, t.fresh = make([][snapshot.DigestSize]byte, groups), make([]uint64, (groups+63)/64)
	t.refresh()
	return t
}

// ones is a bitmap of n bits that are set.
func ones(n uint32) []uint64 {
	b := make([]uint64, (int(n)+63)/64)
	for i := range b {
		b[i] = ^uint64(0)
	}
	if n%64 != 0 {
		b[len(b)-1] = 1<<(n%64) - 1
	}
	return b
}

func bit(set []uint64, i uint32) bool { return set[i>>6]>>(i&63)&1 != 0 }

func count(set []uint64) (n uint32) {
	for _, w := range set {
		n += uint32(bits.OnesCount64(w))
	}
	return n
}

// each calls f for the bits that are set, in order.
func each(set []uint64, f func(p uint32)) {
	for i, w := range set {
		for ; w != 0; w &= w - 1 {
			f(uint32(i*64 + bits.TrailingZeros64(w)))
		}
	}
}

// set notes a page's leaf.
func (t *leafTable) set(p uint32, leaf [snapshot.LeafSize]byte) {
	if bit(t.known, p) && t.leaf[p] == leaf {
		return
	}
	t.leaf[p] = leaf
	t.known[p>>6] |= 1 << (p & 63)
	g := p / snapshot.GroupPages
	t.fresh[g>>6] &^= 1 << (g & 63)
}

// forget notes that pages changed.
func (t *leafTable) forget(pages []uint64) {
	for i, w := range pages {
		if w != 0 {
			t.known[i] &^= w
			g := uint32(i) * 64 / snapshot.GroupPages
			t.fresh[g>>6] &^= 1 << (g & 63)
		}
	}
}

// whole tells whether all leaves of a group are known.
func (t *leafTable) whole(g uint32) bool {
	first := int(g) * snapshot.GroupPages
	for p := first; p < min(first+snapshot.GroupPages, len(t.leaf)); p += 64 {
		want := ^uint64(0)
		if left := len(t.leaf) - p; left < 64 {
			want = 1<<left - 1
		}
		if t.known[p>>6] != want {
			return false
		}
	}
	return true
}

// digest is a group's digest.
// Preconditions: its leaves are known.
func (t *leafTable) digest(g uint32) [snapshot.DigestSize]byte {
	if !bit(t.fresh, g) {
		t.group[g] = snapshot.Group(g, uint32(len(t.leaf)), func(p uint32) [snapshot.LeafSize]byte { return t.leaf[p] })
		t.fresh[g>>6] |= 1 << (g & 63)
	}
	return t.group[g]
}

// refresh computes the digests of all groups whose leaves are known.
func (t *leafTable) refresh() {
	for g := range uint32(len(t.group)) {
		if !bit(t.fresh, g) && t.whole(g) {
			t.digest(g)
		}
	}
}

// root is the state hash; hash tells the leaves that are not known.
func (t *leafTable) root(hash func(p uint32) [snapshot.LeafSize]byte, secs []snapshot.Section) ([snapshot.DigestSize]byte, error) {
	for i, all := range ones(uint32(len(t.leaf))) {
		for w := all &^ t.known[i]; w != 0; w &= w - 1 {
			p := uint32(i*64 + bits.TrailingZeros64(w))
			t.set(p, hash(p))
		}
	}
	return snapshot.RootOfGroups(uint32(len(t.leaf)), t.digest, secs)
}
