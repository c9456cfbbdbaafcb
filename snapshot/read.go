package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"
)

// File is an open snapshot. Its methods may be called from several goroutines.
type File struct {
	r        io.ReaderAt
	done     func() error
	borrowed bool // the parent is not ours to close

	meta   Meta
	parent *File  // nil: complete by itself
	limit  uint64 // where the index begins
	x      *index

	mu       sync.Mutex
	unpacker Unpacker // guarded by mu
	block    *block   // guarded by mu; last one used
	chunk    chunkRef // guarded by mu; what data holds
	data     []byte   // guarded by mu
}

// Open opens a snapshot: superblock, trailer, index root and small sections are
// read and checked, and the state hash is computed from the index. Pages are checked
// as they are read. What it builds on is opened with it, from the same directory.
func Open(l Layer, path string) (*File, error) { return open(l, path, 1) }

func open(l Layer, path string, depth int) (*File, error) {
	r, err := l.Open(path)
	if err != nil {
		return nil, err // names the path
	}
	size, err := r.Size()
	if err == nil {
		var f *File
		if f, err = parse(r, size); err == nil {
			f.done = r.Close
			if f.meta.Parent != (UUID{}) {
				err = f.openParent(l, path, depth)
			}
		}
		if err == nil {
			return f, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("%s: %w", path, err), r.Close())
}

// OpenReader opens a snapshot of size bytes that builds on parent, or on nothing
// where that is nil. Close leaves r and parent open.
func OpenReader(r io.ReaderAt, size int64, parent *File) (*File, error) {
	f, err := parse(r, size)
	if err != nil {
		return nil, err
	}
	if parent != nil {
		if err := f.adopt(parent); err != nil {
			return nil, err
		}
	}
	if err := f.orphaned(); err != nil {
		return nil, err
	}
	f.borrowed = true
	return f, nil
}

// parse reads all of a file but its pages.
func parse(r io.ReaderAt, size int64) (*File, error) {
	super, err := readSuper(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{r: r, done: func() error { return nil }}
	if f.meta, err = parseSuperblock(super); err != nil {
		return nil, err
	}
	if err := f.readIndex(super, size); err != nil {
		return nil, err
	}
	for i := range f.x.sections {
		if e := &f.x.sections[i]; !e.bulky() && !e.inherited() {
			if err := f.readSection(e); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

func readSuper(r io.ReaderAt, size int64) ([]byte, error) {
	b := make([]byte, min(max(size, 0), superSize))
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if !bytes.HasPrefix(b, []byte(magicFile)) {
		if len(b) > 0 && bytes.HasPrefix([]byte(magicFile), b) {
			return nil, &Truncated{size}
		}
		return nil, &NotGodwit{looksLike(b)}
	}
	if size < superSize {
		return nil, &Truncated{size}
	}
	return b, nil
}

func (f *File) readIndex(super []byte, size int64) error {
	t := make([]byte, trailerSize)
	if size < superSize+indexHead+trailerSize {
		return &Truncated{size}
	}
	if _, err := f.r.ReadAt(t, size-trailerSize); err != nil {
		return err
	}
	if string(t[48:]) != magicTrailer {
		return &Truncated{size}
	}
	off, n := le.Uint64(t), le.Uint64(t[8:])
	end := uint64(size - trailerSize)
	if off < superSize || off > end || n != end-off || n > maxIndex {
		return altered("trailer", fmt.Errorf("index of %d bytes at %d in a file of %d", n, off, size))
	}
	b := make([]byte, n) // no more than the file has
	if _, err := f.r.ReadAt(b, int64(off)); err != nil {
		return err
	}
	if trailerSum(super, b) != [sha256.Size]byte(t[16:48]) {
		return altered("index", nil)
	}
	x, err := parseIndex(b, f.meta.Pages, off)
	if err != nil {
		return altered("index", err)
	}
	f.x, f.limit = x, off
	return nil
}

// stored reads and checks the bytes of an extent.
func (f *File) stored(e *extent, part string) ([]byte, error) {
	b := make([]byte, e.len) // within the file, which was checked
	if _, err := f.r.ReadAt(b, int64(e.off)); err != nil && (err != io.EOF || e.len > 0) {
		return nil, fmt.Errorf("read %s: %w", part, err)
	}
	if xxh3.Hash(b) != e.sum {
		return nil, altered(part, nil)
	}
	return b, nil
}

// bulky tells that a section is read only when it is asked for: what no machine needs
// to run on, and is large enough to be felt.
func (e *sectionEntry) bulky() bool { return !e.State && e.size > 1<<16 }

// readSection fills in a section's data.
func (f *File) readSection(e *sectionEntry) error {
	part := "section " + e.ID()
	if e.inherited() {
		return f.inherit(e)
	}
	b, err := f.stored(&e.extent, part)
	if err != nil {
		return err
	}
	data := make([]byte, e.size)
	if err := f.unpacker.Unpack(data, b, e.codec); err != nil {
		return altered(part, err)
	}
	if sha256.Sum256(data) != e.sha {
		return altered(part, nil)
	}
	e.Data = data
	return nil
}

// Meta is what the superblock says.
func (f *File) Meta() Meta { return f.meta }

// Root is the state hash of the machine in the file.
func (f *File) Root() [DigestSize]byte { return f.x.root }

// Pages is how many pages the machine's memory has.
func (f *File) Pages() uint32 { return f.meta.Pages }

// Sections are the machine's sections in canonical order, checked. The caller must
// not write to them.
func (f *File) Sections() ([]Section, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.x.sections {
		if e := &f.x.sections[i]; e.Data == nil {
			if err := f.readSection(e); err != nil {
				return nil, err
			}
		}
	}
	return f.Small(), nil
}

// Small are those of the sections that Open read: all but large ones that are no
// state.
func (f *File) Small() []Section {
	var out []Section
	for i := range f.x.sections {
		if e := &f.x.sections[i]; e.Data != nil {
			out = append(out, e.Section)
		}
	}
	return out
}

// Close closes the file and what it builds on.
func (f *File) Close() error {
	err := f.done()
	if f.parent != nil && !f.borrowed {
		err = errors.Join(err, f.parent.Close())
	}
	return err
}

// Leaf is the leaf of page p, which the root covers.
func (f *File) Leaf(p uint32) ([LeafSize]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.refOf(p)
	switch {
	case err != nil || r == nil:
		return zeroLeaf, err
	case r.inherited():
		return f.parent.Leaf(p)
	}
	k, err := f.blockOf(r)
	if err != nil {
		return zeroLeaf, err
	}
	return k.leaf(uint16(p % GroupPages)), nil
}

// ReadPage reads and checks one page.
func (f *File) ReadPage(p uint32, b *[PageSize]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.refOf(p)
	if err != nil {
		return err
	}
	if r == nil {
		*b = zeroPage
		return nil
	}
	if r.inherited() {
		return f.parent.ReadPage(p, b)
	}
	k, err := f.blockOf(r)
	if err != nil {
		return err
	}
	e := k.find(uint16(p % GroupPages))
	if e == nil {
		*b = zeroPage
		return nil
	}
	return f.readStored(k, e, p, b)
}

// refOf finds the group of page p; nil: it is all zero.
func (f *File) refOf(p uint32) (*groupRef, error) {
	if p >= f.meta.Pages {
		return nil, fmt.Errorf("page %d of %d", p, f.meta.Pages)
	}
	return f.x.group(p / GroupPages), nil
}

// blockOf reads a group's block.
// Preconditions: f.mu is held; r is not inherited.
func (f *File) blockOf(r *groupRef) (*block, error) {
	if f.block != nil && f.block.group == r.group {
		return f.block, nil
	}
	k, err := f.readBlock(r)
	if err != nil {
		return nil, err
	}
	f.block, f.chunk = k, chunkRef{}
	return k, nil
}

func (f *File) readBlock(r *groupRef) (*block, error) {
	part := groupName(r.group, f.meta.Pages)
	b, err := f.stored(&r.extent, part)
	if err != nil {
		return nil, err
	}
	k, err := parseBlock(b, r.group, f.meta.Pages, f.limit)
	if err != nil {
		return nil, altered(part, err)
	}
	if f.parent == nil && k.inherits() {
		return nil, altered(part, errors.New("has pages of a parent, but there is none"))
	}
	digest := Group(r.group, f.meta.Pages, func(p uint32) [LeafSize]byte { return k.leaf(uint16(p % GroupPages)) })
	if digest != r.digest {
		return nil, altered(part, errors.New("its hashes do not make the group's"))
	}
	return k, nil
}

// readStored reads page p by its entry.
// Preconditions: f.mu is held; k is f.block.
func (f *File) readStored(k *block, r *pageRef, p uint32, b *[PageSize]byte) error {
	if r.kind == pageInherited {
		if err := f.parent.ReadPage(p, b); err != nil {
			return err
		}
	} else {
		if err := f.loadChunk(&k.chunks[r.chunk], p); err != nil {
			return err
		}
		copy(b[:], f.data[int(r.slot)*PageSize:])
	}
	if LeafOf(b) != r.leaf {
		*b = zeroPage
		return alteredPage(p, nil)
	}
	return nil
}

// loadChunk makes f.data the content of a chunk, on behalf of page p.
// Preconditions: f.mu is held.
func (f *File) loadChunk(c *chunkRef, p uint32) error {
	if f.chunk == *c {
		return nil
	}
	f.chunk = chunkRef{}
	b, err := f.stored(&c.extent, fmt.Sprintf("page %d", p))
	if err != nil {
		var a *Altered
		if errors.As(err, &a) {
			return alteredPage(p, errors.New("the chunk it lies in does not match its checksum"))
		}
		return err
	}
	f.data = slices.Grow(f.data[:0], int(c.pages)*PageSize)[:int(c.pages)*PageSize]
	if err := f.unpacker.Unpack(f.data, b, c.codec); err != nil {
		return alteredPage(p, err)
	}
	f.chunk = *c
	return nil
}

// LoadAll restores every page that is not zero, in ascending order, each checked.
func (f *File) LoadAll(ctx context.Context, sink Sink) error {
	return f.each(ctx, func(p uint32, b *[PageSize]byte, err error) error {
		if err != nil {
			return err
		}
		return sink.Restore(p, b[:])
	})
}

// maxReports bounds how many faults Verify lists.
const maxReports = 16

// Verify checks every byte of the file. Its error joins the first 16 faults.
func (f *File) Verify(ctx context.Context) error {
	var faults []error
	if _, err := f.Sections(); err != nil {
		faults = append(faults, err)
	}
	err := f.each(ctx, func(_ uint32, _ *[PageSize]byte, err error) error {
		if err == nil {
			return nil
		}
		if faults = append(faults, err); len(faults) == maxReports {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

var errStop = errors.New("stop")

// each calls do for every page that is not zero, with its content or with what
// is wrong with it. A damaged group block is one call, for its first page.
func (f *File) each(ctx context.Context, do func(p uint32, b *[PageSize]byte, err error) error) error {
	var b [PageSize]byte
	for i := range f.x.groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		first := f.x.groups[i].group * GroupPages
		numbers, err := f.numbers(first)
		if err != nil {
			if err := do(first, &b, err); err != nil {
				return err
			}
		}
		for _, n := range numbers {
			p := first + uint32(n)
			if err := do(p, &b, f.ReadPage(p, &b)); err != nil {
				return err
			}
		}
	}
	return nil
}

// numbers lists the pages of a group that are not zero.
func (f *File) numbers(first uint32) ([]uint16, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.refOf(first)
	if err != nil || r == nil {
		return nil, err
	}
	if r.inherited() {
		return f.parent.numbers(first)
	}
	k, err := f.blockOf(r)
	if err != nil {
		return nil, err
	}
	out := make([]uint16, len(k.pages))
	for i := range k.pages {
		out[i] = k.pages[i].page
	}
	return out, nil
}
