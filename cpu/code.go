package cpu

import (
	"godwit/cpu/elem"
	"godwit/cpu/isa"
	"godwit/mem"
)

// op is one step of a translated block: about one guest instruction, with the
// effective address folded in as R[base] + R[index]<<scale + disp.
type op struct {
	code  uint16
	dst   uint8
	src   uint8
	base  uint8
	index uint8
	scale uint8
	n     uint8 // immediate of vector ops
	imm   int32
	disp  int32
}

// imm64 is the immediate of ops that have no memory operand.
func (o *op) imm64() uint64 { return uint64(uint32(o.imm)) | uint64(uint32(o.disp))<<32 }

// opMeta locates an op's instruction: for faults, and for ops that leave to the
// reference.
type opMeta struct {
	off uint16 // first byte, relative to the block
	idx uint8  // instructions before it in the block
	len uint8
}

// block is translated code: instructions of one page, entered at its start and left
// by its last op. Positions are relative to its first byte, so that it serves every
// address at which its page is mapped. What interp reads comes first: one cache line,
// and of links between pages the address behind it.
type block struct {
	n     int32  // instructions, taken from what is left on entry; deadBlock when dropped
	first uint32 // place of the first op's meta
	code  []op
	exit  [2]int32 // fall-through and branch target, relative
	// Cached successors, never nil. They hold while gen is the running vCPU's generation
	// and the block is entered at address at, or for ever with genAny (the target is in
	// the same page).
	next [2]*block
	gen  [2]uint32

	at    uint64 // what the links between pages rest on
	key   uint64 // page, offset and kind
	self  int32  // its own number
	hnext int32  // next block of the hash chain
	pnext int32  // next block of the page
	size  uint16 // bytes
	_     [34]byte
}

const genAny = 1

// place is that of an op's meta.
func (b *block) place(o *op) int { return int(b.first) + elem.Index(b.code, o) }

// noBlock is what links nowhere.
var noBlock = &block{n: deadBlock}

const (
	deadBlock   = 1 << 30
	maxBlock    = 48      // instructions in a block
	maxOps      = 4 << 20 // ops before everything is translated afresh
	hashSize    = 1 << 16
	granuleBits = 6
	opChunk     = 1 << 14 // ops that are allocated together
	blockChunk  = 1 << 6  // and blocks
)

// codeCache holds the translated blocks of a machine.
type codeCache struct {
	blocks []*[blockChunk]block // by number, in chunks: they stay where they are
	count  int32                // of blocks; number 0 is unused
	ops    []op                 // the last chunk
	meta   []opMeta             // of all ops
	insts  []isa.Inst
	hash   [hashSize]int32
	pages  []*[codeGroup]codePage // by arena page, in groups; nil: no code in any of them
}

// codeGroup is how many pages are listed together. A machine with much memory has code
// in little of it, and is not to be slow to begin.
const codeGroup = 512

// codePage says which 64-byte granules of a page were translated, and lists its
// blocks.
type codePage struct {
	granules uint64
	first    int32
}

func (cc *codeCache) init(pages uint32) {
	cc.count = 1
	cc.pages = make([]*[codeGroup]codePage, (pages+codeGroup-1)/codeGroup)
}

// page is an arena page's entry; nil where its group has no code.
func (cc *codeCache) page(page uint32) *codePage {
	if g := cc.pages[page/codeGroup]; g != nil {
		return &g[page%codeGroup]
	}
	return nil
}

func blockKey(off uint64, kind codeKind) uint64 { return off<<2 | uint64(kind) }

func hashKey(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> 48 & (hashSize - 1) }

// block is the block of a number.
func (cc *codeCache) block(i int32) *block { return &cc.blocks[i/blockChunk][i%blockChunk] }

// find is the block of a key, or nil.
func (cc *codeCache) find(key uint64) *block {
	for i := cc.hash[hashKey(key)]; i != 0; {
		b := cc.block(i)
		if b.key == key {
			return b
		}
		i = b.hnext
	}
	return nil
}

// granules is the mask of the granules that n bytes at off touch.
func granules(off uint64, n int) uint64 {
	first, last := off>>granuleBits&63, (off+uint64(n)-1)>>granuleBits&63
	return ^uint64(0) >> (63 - last) &^ (1<<first - 1)
}

func (cc *codeCache) at(off uint64, n int) bool {
	p := cc.page(uint32(off >> mem.PageShift))
	return p != nil && p.granules&granules(off, n) != 0
}

// insert enters a finished block.
func (cc *codeCache) insert(nb block, m *mem.Memory, s *Shared) *block {
	page := uint32(nb.key >> 2 >> mem.PageShift)
	if cc.pages[page/codeGroup] == nil {
		cc.pages[page/codeGroup] = new([codeGroup]codePage)
	}
	if int(cc.count/blockChunk) == len(cc.blocks) {
		cc.blocks = append(cc.blocks, new([blockChunk]block))
	}
	p := cc.page(page)
	h := hashKey(nb.key)
	b := cc.block(cc.count)
	*b = nb
	b.self, b.hnext, b.pnext = cc.count, cc.hash[h], p.first
	b.next = [2]*block{noBlock, noBlock}
	cc.count++
	cc.hash[h], p.first = b.self, b.self
	p.granules |= granules(b.key>>2, int(b.size))
	if m.Flags(page)&mem.FlagCode == 0 {
		m.SetFlag(page, mem.FlagCode)
		s.dropWrites(page)
	}
	return b
}

// room sees that the ops of a block are together.
func (cc *codeCache) room() {
	if cap(cc.ops)-len(cc.ops) < 8*maxBlock {
		cc.ops = make([]op, 0, opChunk)
	}
}

// drop forgets the blocks translated from the granules of a changed range.
func (cc *codeCache) drop(off uint64, n int, m *mem.Memory) {
	page := uint32(off >> mem.PageShift)
	p := cc.page(page)
	hit := granules(off, n)
	if p == nil || p.granules&hit == 0 {
		return
	}
	var left uint64
	keep := int32(0)
	for i := p.first; i != 0; {
		b := cc.block(i)
		next := b.pnext
		if g := granules(b.key>>2, int(b.size)); g&hit != 0 {
			cc.kill(b)
		} else {
			left |= g
			b.pnext, keep = keep, i
		}
		i = next
	}
	p.granules, p.first = left, keep
	if left == 0 {
		m.ClearFlag(page, mem.FlagCode)
	}
}

// kill makes a block unreachable: links to it find n beyond any number of counts.
func (cc *codeCache) kill(b *block) {
	at := &cc.hash[hashKey(b.key)]
	for *at != b.self {
		at = &cc.block(*at).hnext
	}
	*at = b.hnext
	b.n = deadBlock
}

// flush forgets every block. The caller gives all vCPUs new generations.
func (cc *codeCache) flush(m *mem.Memory) {
	if cc.count == 1 {
		return
	}
	for i := int32(1); i < cc.count; i++ { // not all pages: there may be many
		b := cc.block(i)
		b.n = deadBlock // somebody may be in it
		page := uint32(b.key >> 2 >> mem.PageShift)
		if p := cc.page(page); *p != (codePage{}) {
			m.ClearFlag(page, mem.FlagCode)
			*p = codePage{}
		}
	}
	clear(cc.hash[:])
	cc.blocks, cc.count = nil, 1
	cc.ops, cc.meta, cc.insts = nil, cc.meta[:0], cc.insts[:0]
}
