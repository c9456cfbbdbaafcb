package migrate

import (
	"crypto/sha256"

	"godwit/snapshot"
)

// pager turns the dirty pages of a pass into PAGES frames.
type pager struct {
	pass   Pass
	number uint32
	dirty  bitmap
	have   map[uint32][sumSize]byte // what the destination holds from before; first pass only
	plain  bool                     // no page refers to another
	disks  *disksOut
	images *imagesOut
	at     uint32 // pages before it are done
	pages  uint32 // done
	table  KindTable
	sent   uint64 // bytes

	b     batch
	dup   *dupCache
	ring  [6][]byte
	turn  int
	codec *chooser
	base  [PageSize]byte
}

var zeroPage [PageSize]byte

// begin takes a pass up.
func (g *pager) begin(p Pass, number uint32, have map[uint32][sumSize]byte) {
	g.pass, g.number, g.dirty, g.have = p, number, p.Dirty(), have
	g.at, g.pages, g.sent, g.table, g.plain = 0, 0, 0, KindTable{}, false
	if g.dup == nil {
		g.dup = new(dupCache)
	}
	g.dup.turn++
	g.images.begin(false)
	if g.codec != nil {
		g.codec.value(0)
	}
}

func (g *pager) buffer() []byte {
	g.turn++
	b := &g.ring[g.turn%len(g.ring)]
	if *b == nil {
		*b = make([]byte, batchSize)
	}
	return *b
}

// next makes the next frame, of at most about limit bytes; nil: the pass is done.
func (g *pager) next(seq uint64, limit int) []byte {
	g.b.reset(g.buffer(), g.number, limit)
	for !g.b.full() {
		p, ok := g.dirty.next(g.at)
		if !ok {
			break
		}
		g.at = p + 1
		g.page(p)
	}
	return g.flush(seq)
}

// flush makes the frame of what the batch holds.
func (g *pager) flush(seq uint64) []byte {
	if len(g.b.kinds) == 0 {
		return nil
	}
	frame, packed := g.b.finish(seq, g.buffer(), g.codec)
	g.pages += uint32(len(g.b.kinds))
	g.b.tally(&g.table, packed)
	g.sent += uint64(len(frame))
	return frame
}

// page adds one page to the batch, in the cheapest kind.
func (g *pager) page(p uint32) {
	to := g.b.space()
	g.pass.Read(p, to)
	leaf := snapshot.LeafOf(to)
	kind, n := g.kind(p, to, leaf)
	g.b.add(p, kind, n)
	if kind == ImageRef {
		g.images.due = append(g.images.due, sentRef{p, leaf})
		return
	}
	g.pass.Sent(p, leaf)
}

// kind picks the kind of a page and leaves its content in place.
func (g *pager) kind(p uint32, page *[PageSize]byte, leaf [LeafSize]byte) (Kind, int) {
	if sum, ok := g.have[p]; ok && sha256.Sum256(page[:]) == sum {
		return Keep, 0
	}
	if leaf == zeroLeaf && *page == zeroPage {
		return Zero, 0
	}
	if g.pass.Base(p, &g.base) && !g.images.whole(p) { // where pages go whole anyway, there are no images
		if n := g.b.lines(&g.base); n == 0 {
			return Keep, 0
		} else if n > 0 {
			return Lines, n
		}
	}
	if g.plain {
		return Raw, PageSize
	}
	if r, ok := g.disks.ref(page, leaf); ok {
		r.put(page[:])
		return DiskRef, refSize
	}
	if g.images.ref(p, page) {
		return ImageRef, imageRefSize
	}
	if q, ok := g.dup.find(p, page, leaf); ok {
		le.PutUint32(page[:], q)
		return Dup, dupSize
	}
	return Raw, PageSize
}

var zeroLeaf = snapshot.ZeroLeaf()

// dupCache remembers pages sent whole in this pass, to find more of the same. The
// leaf finds a candidate; its bytes decide.
type dupCache struct {
	slot [1024]struct {
		turn    int
		page    uint32
		content *[PageSize]byte
	}
	turn int // from 1: what was remembered in earlier turns is forgotten
}

// find returns a page sent before with this content, or remembers this one.
func (d *dupCache) find(p uint32, page *[PageSize]byte, leaf [LeafSize]byte) (uint32, bool) {
	s := &d.slot[le.Uint16(leaf[:])%uint16(len(d.slot))]
	if s.turn == d.turn && *s.content == *page {
		return s.page, true
	}
	if s.content == nil {
		s.content = new([PageSize]byte)
	}
	s.turn, s.page, *s.content = d.turn, p, *page
	return 0, false
}
