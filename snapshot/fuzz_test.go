package snapshot

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"
)

func goldenFiles(t testing.TB) [][]byte {
	paths, err := filepath.Glob("testdata/golden-*.godwit")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	var out [][]byte
	for _, p := range paths {
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		out = append(out, b)
	}
	return out
}

// sign makes the checksums of a mutated file right again as far as the file can
// be followed, so that a fuzzer gets past them to what they protect.
func sign(b []byte) {
	if len(b) < superSize+indexHead+trailerSize {
		return
	}
	le.PutUint64(b[superSum:], xxh3.Hash(b[:superSum]))
	end := len(b) - trailerSize
	off := le.Uint64(b[end:])
	if off < superSize || off+indexHead > uint64(end) {
		return
	}
	le.PutUint64(b[end+8:], uint64(end)-off)
	stored := b[off:end]
	pages := le.Uint32(b[72:])
	if pages > 1<<20 {
		return // a root of that many groups takes a fuzzer too long
	}
	c := cursor{b: stored[indexHead:]}
	var x index
	if x.parseSections(&c, int(min(MaxSections, le.Uint32(stored[8:]))), off) == nil &&
		x.parseGroups(&c, len(c.b)/groupEntry, pages, off) == nil {
		root := x.computeRoot(pages)
		copy(stored[16:], root[:])
	}
	sum := trailerSum(b[:superSize], stored)
	copy(b[end+16:], sum[:])
}

// discard is a Sink that keeps nothing.
type discard struct{}

func (discard) Restore(uint32, []byte) error { return nil }

// FuzzOpen wants -fuzzminimizetime 100x: shrinking files of 12 KiB takes long.
func FuzzOpen(f *testing.F) {
	for _, b := range goldenFiles(f) {
		f.Add(b, true)
		f.Add(b[:len(b)/2], true)
		f.Add(b[len(b)/2:], false)
	}
	f.Fuzz(func(t *testing.T, b []byte, resign bool) {
		if b = bytes.Clone(b); resign {
			sign(b)
		}
		file, err := OpenReader(bytes.NewReader(b), int64(len(b)), nil)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		verified := file.Verify(context.Background())
		loaded := file.LoadAll(context.Background(), discard{})
		require.Equal(t, verified == nil, loaded == nil)
	})
}

func FuzzIndex(f *testing.F) {
	for _, b := range goldenFiles(f) {
		end := len(b) - trailerSize
		f.Add(b[le.Uint64(b[end:]):end], uint32(514), uint64(end))
	}
	f.Fuzz(func(t *testing.T, b []byte, pages uint32, limit uint64) {
		x := &index{}
		c := cursor{b: b}
		c.take(indexHead)
		if len(b) < indexHead || x.parseSections(&c, int(min(MaxSections, le.Uint32(b[8:]))), limit) != nil {
			return
		}
		if x.parseGroups(&c, len(c.b)/groupEntry, pages, limit) != nil || len(c.b) != 0 {
			return
		}
		x.root = [DigestSize]byte(b[16:48])
		again := x.encode()
		copy(again[8:16], b[8:16]) // the counts, which this harness does not trust
		for i := range x.sections {
			x.sections[i].Required = x.sections[i].Required || x.sections[i].State
		}
		require.Len(t, again, len(b))
	})
}

func FuzzBlock(f *testing.F) {
	for _, b := range goldenFiles(f) {
		file, err := OpenReader(bytes.NewReader(b), int64(len(b)), nil)
		require.NoError(f, err)
		for i := range file.x.groups {
			g := &file.x.groups[i]
			f.Add(b[g.off:g.off+g.len], g.group, uint32(514), file.limit)
		}
	}
	f.Add([]byte("0"), uint32(0), uint32(1), uint64(99999)) // once read as an empty block
	f.Fuzz(func(t *testing.T, b []byte, g, pages uint32, limit uint64) {
		if g >= Groups(pages) {
			return
		}
		k, err := parseBlock(b, g, pages, limit)
		if err != nil {
			return
		}
		require.Equal(t, b, k.encode(), "one block has one encoding")
		for i := range k.pages {
			p := &k.pages[i]
			require.Equal(t, p, k.find(p.page))
			if p.kind == pageStored {
				require.Less(t, p.slot, k.chunks[p.chunk].pages)
			}
		}
	})
}

// TestCraftedFiles: right checksums over wrong content.
func TestCraftedFiles(t *testing.T) {
	base, err := os.ReadFile("testdata/golden-1-none.godwit")
	require.NoError(t, err)
	index := int(le.Uint64(base[len(base)-trailerSize:]))
	for _, tt := range []struct {
		name, want string
		at         int
		v          []byte
	}{
		{"newer", "needs a reader of format 2; this build of godwit reads up to 1", 10, []byte{2}},
		{"newer writer, old enough", "", 8, []byte{2}},
		{"unknown flag", "", 64, []byte{1}},
		{"parent", "builds on snapshot 00010000-0000-0000-0000-000000000000", 33, []byte{1}},
		{"page size", "superblock: page size 8192, want 4096", 13, []byte{0x20}},
		{"cpu model", "superblock: section cpu model", 81, []byte{0x1b}},
		{"fewer pages", "index: group 1, want 1 to 0", 72, []byte{9, 0}},
		{"many sections", "index: 4278190083 sections, at most 4096", index + 11, []byte{0xff}},
		{"many groups", "bytes for 258 groups", index + 13, []byte{1}},
		{"section's place", "lie outside 4096 to", index + indexHead + 13 + 7, []byte{0xff}},
		{"section's size", "section clock is stored in 7 bytes, more than its 6", index + indexHead + 13 + 16, []byte{6}},
		{"huge section", "section clock holds 1099511627783 bytes, at most 268435456", index + indexHead + 13 + 16 + 5, []byte{1}},
		{"section's codec", "section clock: compression 7 is unknown", index + indexHead + 12, []byte{7}},
		{"state but not required", "section clock is state but not required", index + indexHead + 11, []byte{2}},
		{"section name", "printable ASCII", index + indexHead + 3, []byte{7}},
		{"section order", "section config is out of order", index + indexHead + 2, []byte("z")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(base)
			copy(b[tt.at:], tt.v)
			sign(b)
			_, err := OpenReader(bytes.NewReader(b), int64(len(b)), nil)
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

// TestInheritedPagesNeedAParent: a page of a parent in a file without one.
func TestInheritedPagesNeedAParent(t *testing.T) {
	b := append([]byte(nil), goldenFiles(t)[0]...)
	f, err := OpenReader(bytes.NewReader(b), int64(len(b)), nil)
	require.NoError(t, err)
	g := &f.x.groups[1]
	b[g.off+blockHead+chunkEntry+2] = pageInherited
	g.sum = xxh3.Hash(b[g.off : g.off+g.len])
	var page [PageSize]byte
	require.ErrorContains(t, f.ReadPage(513, &page), "has pages of a parent, but there is none")
}

// TestPageHashIsChecked: a chunk with a right checksum and a wrong page.
func TestPageHashIsChecked(t *testing.T) {
	b := append([]byte(nil), goldenFiles(t)[0]...)
	f, err := OpenReader(bytes.NewReader(b), int64(len(b)), nil)
	require.NoError(t, err)
	k, err := f.readBlock(&f.x.groups[1])
	require.NoError(t, err)
	c := &k.chunks[0]
	b[c.off+9] ^= 1
	c.sum = xxh3.Hash(b[c.off : c.off+c.len])
	f.block = k
	var page [PageSize]byte
	require.ErrorContains(t, f.ReadPage(513, &page), "page 513 does not match its checksum")
	require.Equal(t, zeroPage, page, "nothing unchecked is handed out")
}
