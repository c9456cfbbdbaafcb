package snapshot

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// Options of Write. The zero value is a plain uncompressed file.
type Options struct {
	Codec      Codec
	ChunkPages int                      // pages compressed together, 1 to 64; 0: 32
	Progress   func(done, total uint32) // pages; called once a group; may be nil

	// Parent makes the snapshot incremental: pages that Changed denies are left to
	// it. It must lie in the same directory, as Meta.UUID.FileName.
	Parent  *File
	Changed func(p uint32) bool
}

// Stats tells what a Write wrote.
type Stats struct {
	Root     [DigestSize]byte // state hash, computed from what was written
	Pages    uint32           // of memory
	Stored   uint32           // pages with content
	Dup      uint32           // of them, those equal to one stored shortly before
	Kept     uint32           // pages that are the parent's
	Zero     uint32           // pages all zero or never written, which take no room
	RawBytes uint64           // of the stored pages, duplicates aside
	Packed   uint64           // what they take in the file
	Bytes    uint64           // of the file
	Sections int
}

// Write saves a machine that stands still: it writes a temporary file beside
// path, makes it durable, and renames it. On any error path is untouched and the
// temporary is gone. It does not begin where the disk would be full before the end:
// NoRoom.
//
// Every page's content is hashed on its way. Where pages is Hashed that is compared
// with what is recorded, so a page changed behind the hash's back, or behind that
// of Options.Changed, fails the save rather than spoiling it.
func Write(ctx context.Context, l Layer, path string, m Meta, secs []Section, pages Pages, o Options) (Stats, error) {
	if m.UUID == (UUID{}) {
		m.UUID = NewUUID()
	}
	var st Stats
	err := SaveFits(l, path, secs, pages, o, 0)
	if err != nil {
		return Stats{}, fmt.Errorf("save %s: %w", path, err)
	}
	err = replace(l, path, tempName(path, NewUUID()), func(w io.Writer) (err error) {
		st, err = WriteTo(ctx, w, m, secs, pages, o)
		return err
	})
	if err != nil {
		return Stats{}, fmt.Errorf("save %s: %w", path, err)
	}
	return st, nil
}

// WriteTo writes the snapshot's bytes to w, in order and without seeking.
func WriteTo(ctx context.Context, w io.Writer, m Meta, secs []Section, pages Pages, o Options) (Stats, error) {
	if o.ChunkPages == 0 {
		o.ChunkPages = 32
	}
	if o.ChunkPages < 1 || o.ChunkPages > maxChunkPages {
		return Stats{}, fmt.Errorf("chunks of %d pages, want 1 to %d", o.ChunkPages, maxChunkPages)
	}
	sorted, err := Sorted(secs)
	if err != nil {
		return Stats{}, err
	}
	packer, err := NewPacker(o.Codec)
	if err != nil {
		return Stats{}, err
	}
	m.Pages = pages.Pages()
	if m.Parent = (UUID{}); o.Parent != nil {
		m.Parent = o.Parent.meta.UUID
		if n := o.Parent.meta.Pages; n != m.Pages {
			return Stats{}, fmt.Errorf("the parent has %d pages of memory, this machine %d", n, m.Pages)
		}
		if n := o.Parent.Depth(); n >= MaxDepth {
			return Stats{}, fmt.Errorf("the parent is spread over %d files, at most %d", n, MaxDepth-1)
		}
	}
	wr := &writer{ctx: ctx, w: bufio.NewWriterSize(w, 1<<18), pages: pages, packer: packer, o: o}
	wr.hashed, _ = pages.(Hashed)
	wr.failing, _ = pages.(Failing)
	wr.st.Pages, wr.st.Sections = m.Pages, len(sorted)
	if err := wr.all(&m, sorted); err != nil {
		return Stats{}, err
	}
	wr.st.Bytes = wr.off
	return wr.st, nil
}

// writer is one Write under way.
type writer struct {
	ctx     context.Context
	w       *bufio.Writer
	off     uint64
	pages   Pages
	hashed  Hashed  // pages, where it is; else nil
	failing Failing // likewise
	packer  *Packer
	o       Options
	x       index
	st      Stats

	page   [PageSize]byte // being looked at
	chunk  []byte         // pages waiting to be written together
	block  block          // of the group under way
	recent recent
}

func (w *writer) all(m *Meta, secs []Section) error {
	super, err := m.superblock()
	if err != nil {
		return err
	}
	if _, err := w.put(super); err != nil {
		return err
	}
	for i := range secs {
		if err := w.section(&secs[i]); err != nil {
			return err
		}
	}
	for g := range Groups(m.Pages) {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if err := w.group(g); err != nil {
			return err
		}
		if w.o.Progress != nil {
			w.o.Progress(min(m.Pages, (g+1)*GroupPages), m.Pages)
		}
	}
	w.x.root = w.x.computeRoot(m.Pages)
	w.st.Root = w.x.root
	index, off := w.x.encode(), w.off
	if len(index) > maxIndex {
		return fmt.Errorf("index of %d bytes, at most %d", len(index), maxIndex)
	}
	if _, err := w.put(index); err != nil {
		return err
	}
	if _, err := w.put(trailer(off, super, index)); err != nil {
		return err
	}
	return w.w.Flush()
}

func (w *writer) put(b []byte) (extent, error) {
	e := extent{off: w.off, len: uint64(len(b)), sum: xxh3.Hash(b)}
	w.off += e.len
	_, err := w.w.Write(b)
	return e, err
}

func (w *writer) section(s *Section) error {
	entry := sectionEntry{Section: *s, size: uint64(len(s.Data)), sha: sha256.Sum256(s.Data)}
	entry.Data = nil
	if !w.parentHas(&entry) {
		data, codec := w.packer.Pack(s.Data)
		e, err := w.put(data)
		if err != nil {
			return err
		}
		entry.extent, entry.codec = e, codec
	}
	w.x.sections = append(w.x.sections, entry)
	return nil
}

// parentHas tells whether a large section is left to the parent, which has the same.
func (w *writer) parentHas(e *sectionEntry) bool {
	if w.o.Parent == nil || !e.bulky() {
		return false
	}
	p := w.o.Parent.x.section(e)
	return p != nil && p.size == e.size && p.sha == e.sha
}

// group writes the pages of one group and then its block, or leaves it to the
// parent.
func (w *writer) group(g uint32) error {
	n := uint32(groupSize(g, w.st.Pages))
	first := g * GroupPages
	if w.o.Parent != nil && w.same(first, n) {
		return w.keepGroup(g, n)
	}
	w.block = block{group: g}
	w.recent.nextBlock()
	for p := first; p < first+n; p++ {
		if err := w.onePage(p); err != nil {
			return err
		}
	}
	if err := w.flushChunk(); err != nil {
		return err
	}
	if w.failing != nil {
		if err := w.failing.Err(); err != nil {
			return err
		}
	}
	w.st.Zero += n - uint32(len(w.block.pages))
	if len(w.block.pages) == 0 {
		return nil
	}
	e, err := w.put(w.block.encode())
	if err != nil {
		return err
	}
	digest := Group(g, w.st.Pages, func(p uint32) [LeafSize]byte { return w.block.leaf(uint16(p % GroupPages)) })
	w.x.groups = append(w.x.groups, groupRef{group: g, extent: e, digest: digest})
	return nil
}

// same tells that none of n pages changed since the parent.
func (w *writer) same(first, n uint32) bool {
	for p := first; p < first+n; p++ {
		if w.o.Changed(p) {
			return false
		}
	}
	return true
}

// keepGroup leaves a whole group of n pages to the parent.
func (w *writer) keepGroup(g, n uint32) error {
	r := w.o.Parent.x.group(g)
	digest := zeroGroupOf(g, w.st.Pages)
	if r != nil {
		digest = r.digest
		w.x.groups = append(w.x.groups, groupRef{group: g, digest: digest})
	}
	w.st.Kept += n
	if w.hashed == nil {
		return nil
	}
	if have := Group(g, w.st.Pages, w.hashed.Leaf); have != digest {
		return fmt.Errorf("%s: changed since the parent, but is not marked so", groupName(g, w.st.Pages))
	}
	return nil
}

func (w *writer) onePage(p uint32) error {
	if w.o.Parent != nil && !w.o.Changed(p) {
		return w.keepPage(p)
	}
	if !w.pages.Present(p) {
		return nil
	}
	w.pages.Read(p, &w.page)
	leaf := LeafOf(&w.page)
	if w.hashed != nil {
		if have := w.hashed.Leaf(p); have != leaf {
			return fmt.Errorf("page %d: its hash is recorded as %x but its content makes %x", p, have, leaf)
		}
	}
	if isZero(w.page[:]) {
		return nil
	}
	return w.store(uint16(p%GroupPages), leaf)
}

// keepPage leaves one page to the parent.
func (w *writer) keepPage(p uint32) error {
	leaf, err := w.o.Parent.Leaf(p)
	if err != nil {
		return err
	}
	if w.hashed != nil && w.hashed.Leaf(p) != leaf {
		return fmt.Errorf("page %d: changed since the parent, but is not marked so", p)
	}
	if leaf == zeroLeaf {
		return nil
	}
	w.st.Kept++
	w.block.pages = append(w.block.pages, pageRef{page: uint16(p % GroupPages), kind: pageInherited, leaf: leaf})
	return nil
}

// store puts w.page into the chunk under way, or refers to where it was stored
// before.
func (w *writer) store(inGroup uint16, leaf [LeafSize]byte) error {
	ref := pageRef{page: inGroup, kind: pageStored, leaf: leaf}
	w.st.Stored++
	if chunk, slot, ok := w.recent.find(leaf, &w.page); ok {
		ref.chunk, ref.slot = chunk, slot
		w.st.Dup++
		w.block.pages = append(w.block.pages, ref)
		return nil
	}
	ref.chunk, ref.slot = uint16(len(w.block.chunks)), uint8(len(w.chunk)/PageSize)
	w.recent.add(leaf, &w.page, ref.chunk, ref.slot)
	w.block.pages = append(w.block.pages, ref)
	w.chunk = append(w.chunk, w.page[:]...)
	if int(ref.slot)+1 == w.o.ChunkPages {
		return w.flushChunk()
	}
	return nil
}

func (w *writer) flushChunk() error {
	if len(w.chunk) == 0 {
		return nil
	}
	data, codec := w.packer.Pack(w.chunk)
	e, err := w.put(data)
	if err != nil {
		return err
	}
	w.block.chunks = append(w.block.chunks, chunkRef{
		extent: e, codec: codec, pages: uint8(len(w.chunk) / PageSize),
	})
	w.st.RawBytes += uint64(len(w.chunk))
	w.st.Packed += e.len
	w.chunk = w.chunk[:0]
	return nil
}
