package snapshot

import (
	"errors"
	"fmt"
)

// A group block is the lower level of the index: where the pages of one group
// lie, and their leaves.
const (
	blockHead  = 8
	chunkEntry = 24
	pageEntry  = 24
	maxBlock   = blockHead + GroupPages*(chunkEntry+pageEntry)
)

// Kinds of pages in a block. A page that is all zero has no entry.
const (
	pageStored    = 1 // in a chunk of this file
	pageInherited = 2 // the parent's page of that number
)

// chunkRef is a run of stored pages that were compressed together.
type chunkRef struct {
	extent
	codec Codec
	pages uint8 // 1 to 64
}

// pageRef is one page of a group.
type pageRef struct {
	page  uint16 // in the group
	kind  uint8
	slot  uint8  // page in the chunk
	chunk uint16 // in block.chunks
	leaf  [LeafSize]byte
}

type block struct {
	group  uint32
	chunks []chunkRef
	pages  []pageRef // ascending
}

func (k *block) encode() []byte {
	b := le.AppendUint32(nil, k.group)
	b = le.AppendUint16(b, uint16(len(k.chunks)))
	b = le.AppendUint16(b, uint16(len(k.pages)))
	for i := range k.chunks {
		c := &k.chunks[i]
		b = le.AppendUint64(b, c.off)
		b = le.AppendUint32(b, uint32(c.len))
		b = append(b, byte(c.codec), c.pages, 0, 0)
		b = le.AppendUint64(b, c.sum)
	}
	for i := range k.pages {
		p := &k.pages[i]
		b = le.AppendUint16(b, p.page)
		b = append(b, p.kind, p.slot)
		b = le.AppendUint16(b, p.chunk)
		b = append(b, 0, 0)
		b = append(b, p.leaf[:]...)
	}
	return b
}

// leaf of a page of the group, by its number in the group.
func (k *block) leaf(page uint16) [LeafSize]byte {
	if p := k.find(page); p != nil {
		return p.leaf
	}
	return zeroLeaf
}

// inherits tells whether any page is the parent's.
func (k *block) inherits() bool {
	for i := range k.pages {
		if k.pages[i].kind == pageInherited {
			return true
		}
	}
	return false
}

func (k *block) find(page uint16) *pageRef {
	lo, hi := 0, len(k.pages)
	for lo < hi {
		mid := (lo + hi) / 2
		if k.pages[mid].page < page {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(k.pages) && k.pages[lo].page == page {
		return &k.pages[lo]
	}
	return nil
}

// parseBlock reads the block of group g of a memory of so many pages, in a file
// whose data ends at limit.
func parseBlock(b []byte, g, pages uint32, limit uint64) (*block, error) {
	c := cursor{b: b}
	k := &block{group: c.u32()}
	nc, np := int(c.u16()), int(c.u16())
	if c.short {
		return nil, errShort
	}
	if k.group != g {
		return nil, fmt.Errorf("is of group %d, want %d", k.group, g)
	}
	if nc > GroupPages || np > groupSize(g, pages) {
		return nil, fmt.Errorf("%d chunks and %d pages, at most %d and %d", nc, np, GroupPages, groupSize(g, pages))
	}
	if len(c.b) != nc*chunkEntry+np*pageEntry {
		return nil, fmt.Errorf("%d bytes for %d chunks and %d pages", len(b), nc, np)
	}
	for range nc {
		r, err := parseChunk(&c, limit)
		if err != nil {
			return nil, err
		}
		k.chunks = append(k.chunks, r)
	}
	for range np {
		if err := k.parsePage(&c, groupSize(g, pages)); err != nil {
			return nil, err
		}
	}
	return k, nil
}

func parseChunk(c *cursor, limit uint64) (r chunkRef, err error) {
	r.off, r.len = c.u64(), uint64(c.u32())
	r.codec, r.pages = Codec(c.u8()), c.u8()
	reserved := c.u16()
	r.sum = c.u64()
	if r.pages == 0 || r.pages > maxChunkPages {
		return r, fmt.Errorf("chunk of %d pages, want 1 to %d", r.pages, maxChunkPages)
	}
	if reserved != 0 {
		return r, errors.New("chunk has reserved bytes set")
	}
	if size := uint64(r.pages) * PageSize; r.len > size || r.codec == None && r.len != size {
		return r, fmt.Errorf("chunk of %d bytes (%s) holds %d pages", r.len, r.codec, r.pages)
	}
	return r, r.within(limit)
}

func (k *block) parsePage(c *cursor, size int) error {
	p := pageRef{page: c.u16(), kind: c.u8(), slot: c.u8(), chunk: c.u16()}
	reserved := c.u16()
	p.leaf = [LeafSize]byte(c.take(LeafSize))
	if int(p.page) >= size {
		return fmt.Errorf("page %d of %d", p.page, size)
	}
	if n := len(k.pages); n > 0 && k.pages[n-1].page >= p.page {
		return fmt.Errorf("page %d is out of order", p.page)
	}
	if reserved != 0 || p.kind != pageStored && p.kind != pageInherited {
		return fmt.Errorf("page %d has kind %d and reserved bytes %#x", p.page, p.kind, reserved)
	}
	if p.kind == pageStored && (int(p.chunk) >= len(k.chunks) || p.slot >= k.chunks[p.chunk].pages) {
		return fmt.Errorf("page %d lies in slot %d of chunk %d, which is not there", p.page, p.slot, p.chunk)
	}
	k.pages = append(k.pages, p)
	return nil
}
