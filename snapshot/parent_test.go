package snapshot_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

// chain writes snapshots of a memory that changes, each building on the one
// before, and returns their ids with the memory that each is of.
func chain(t *testing.T, dir string, pages uint32, n int) (ids []snapshot.UUID, was []*memtest.Memory) {
	t.Helper()
	m := memtest.New(pages).Fill(1, 30)
	r := rand.New(rand.NewPCG(uint64(pages), 7))
	changed := map[uint32]bool{}
	for i := range n {
		id := snapshot.UUID{byte(i + 1)}
		save(t, dir, id, m, parentOf(ids), func(p uint32) bool { return changed[p] })
		ids, was = append(ids, id), append(was, clone(m))
		clear(changed)
		for range 1 + r.IntN(40) {
			p := r.Uint32N(pages)
			b := make([]byte, snapshot.PageSize)
			if r.IntN(4) > 0 { // else it becomes zero
				b[r.IntN(len(b))] = byte(1 + i)
			}
			require.NoError(t, m.Restore(p, b))
			changed[p] = true
		}
	}
	return ids, was
}

func parentOf(ids []snapshot.UUID) snapshot.UUID {
	if len(ids) == 0 {
		return snapshot.UUID{}
	}
	return ids[len(ids)-1]
}

func clone(m *memtest.Memory) *memtest.Memory {
	c := memtest.New(m.N)
	for p, d := range m.Data {
		b := *d
		c.Data[p] = &b
	}
	return c
}

func save(t testing.TB, dir string, id snapshot.UUID, m snapshot.Pages, parent snapshot.UUID, changed func(uint32) bool) snapshot.Stats {
	t.Helper()
	o := snapshot.Options{Codec: snapshot.S2, ChunkPages: 8}
	if parent != (snapshot.UUID{}) {
		f, err := snapshot.Open(snapshot.Disk{}, filepath.Join(dir, parent.FileName()))
		require.NoError(t, err)
		defer f.Close()
		o.Parent, o.Changed = f, changed
	}
	st, err := snapshot.Write(ctx, snapshot.Disk{}, filepath.Join(dir, id.FileName()), snapshot.Meta{UUID: id}, memtest.Sections(), m, o)
	require.NoError(t, err)
	return st
}

func TestChain(t *testing.T) {
	for _, pages := range []uint32{1, 511, 1025, 5000} {
		t.Run(fmt.Sprint(pages), func(t *testing.T) {
			dir := t.TempDir()
			ids, was := chain(t, dir, pages, 9)
			for i, id := range ids {
				f, err := snapshot.Open(snapshot.Disk{}, filepath.Join(dir, id.FileName()))
				require.NoError(t, err)
				require.Equal(t, i+1, f.Depth())
				require.Equal(t, was[i].Root(memtest.Sections()), f.Root())
				require.NoError(t, f.Verify(ctx))
				got := memtest.New(pages)
				require.NoError(t, f.LoadAll(ctx, got))
				require.Equal(t, f.Root(), got.Root(memtest.Sections()))
				comparePages(t, was[i], f)
				require.NoError(t, f.Close())
			}
		})
	}
}

// TestIncrementIsSmall: what did not change costs neither pages nor blocks.
func TestIncrementIsSmall(t *testing.T) {
	dir := t.TempDir()
	m := memtest.New(100*snapshot.GroupPages).Fill(3, 2)
	save(t, dir, snapshot.UUID{1}, m, snapshot.UUID{}, nil)
	require.NoError(t, m.Restore(777, make([]byte, snapshot.PageSize)))
	b := [snapshot.PageSize]byte{9}
	require.NoError(t, m.Restore(778, b[:]))
	st := save(t, dir, snapshot.UUID{2}, m, snapshot.UUID{1}, func(p uint32) bool { return p == 777 || p == 778 })
	require.EqualValues(t, 1, st.Stored)
	// Superblock, sections, index of 100 groups, one block of half a group, a page.
	require.Less(t, st.Bytes, uint64(4096+6000+100*60+300*24+4096+1000))
}

// TestUnmarkedChange: a page that changed without its mark fails the save.
func TestUnmarkedChange(t *testing.T) {
	dir := t.TempDir()
	m := memtest.New(2000).Fill(3, 2)
	save(t, dir, snapshot.UUID{1}, m, snapshot.UUID{}, nil)
	f, err := snapshot.Open(snapshot.Disk{}, filepath.Join(dir, snapshot.UUID{1}.FileName()))
	require.NoError(t, err)
	defer f.Close()
	b := [snapshot.PageSize]byte{9}
	require.NoError(t, m.Restore(1030, b[:]))
	for _, marked := range []uint32{1025, 0} { // with and without a marked page in its group
		o := snapshot.Options{Parent: f, Changed: func(p uint32) bool { return p == marked }}
		path := filepath.Join(dir, "out")
		_, err = snapshot.Write(ctx, snapshot.Disk{}, path, snapshot.Meta{}, nil, m, o)
		require.ErrorContains(t, err, "changed since the parent, but is not marked so")
		_, err = os.Stat(path)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

func TestRepeatedPages(t *testing.T) {
	m := memtest.New(600)
	for p := range m.N {
		require.NoError(t, m.Restore(p, bytesOf(byte(1+p%10))))
	}
	b, st := write(t, m, nil, snapshot.Options{})
	require.EqualValues(t, 600, st.Stored)
	require.EqualValues(t, 580, st.Dup, "ten are stored in each of two groups")
	f, err := open(b)
	require.NoError(t, err)
	comparePages(t, m, f)
}

func bytesOf(v byte) []byte {
	b := make([]byte, snapshot.PageSize)
	for i := range b {
		b[i] = v
	}
	return b
}

// TestMissingParent: what is wrong with a chain is said by name.
func TestMissingParent(t *testing.T) {
	dir := t.TempDir()
	ids, _ := chain(t, dir, 1025, 3)
	path := func(i int) string { return filepath.Join(dir, ids[i].FileName()) }
	var needs *snapshot.NeedsParent
	require.NoError(t, os.Rename(path(1), path(1)+".away"))
	_, err := snapshot.Open(snapshot.Disk{}, path(2))
	require.ErrorAs(t, err, &needs)
	require.Equal(t, ids[1], needs.Parent)
	require.ErrorIs(t, err, os.ErrNotExist)

	b, err := os.ReadFile(path(0)) // another snapshot in its place
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path(1), b, 0o600))
	_, err = snapshot.Open(snapshot.Disk{}, path(2))
	require.ErrorContains(t, err, "what is in its place is "+ids[0].String())

	// The same id with other content: caught by group digests or by leaves.
	other := memtest.New(1025).Fill(99, 2)
	require.NoError(t, os.Remove(path(1)))
	save(t, dir, ids[1], other, snapshot.UUID{}, nil)
	f, err := snapshot.Open(snapshot.Disk{}, path(2))
	var alt *snapshot.Altered
	if err == nil {
		err = f.Verify(ctx)
		f.Close()
	}
	require.True(t, errors.As(err, &alt), "%v", err)
}

// TestChainDamage flips bits anywhere in a chain: each is refused or named.
func TestChainDamage(t *testing.T) {
	dir := t.TempDir()
	ids, was := chain(t, dir, 1100, 3)
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		path := filepath.Join(dir, ids[r.IntN(3)].FileName())
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		i, bit := r.IntN(len(b)), byte(1)<<r.IntN(8)
		b[i] ^= bit
		require.NoError(t, os.WriteFile(path, b, 0o600))
		f, err := snapshot.Open(snapshot.Disk{}, filepath.Join(dir, ids[2].FileName()))
		if err == nil {
			if err = f.Verify(ctx); err == nil { // a page that the child no longer needs
				got := memtest.New(1100)
				require.NoError(t, f.LoadAll(ctx, got))
				require.Equal(t, was[2].Root(memtest.Sections()), got.Root(memtest.Sections()))
			}
			f.Close()
		}
		b[i] ^= bit
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
}

// TestAbsorb takes the middle out of a chain, then the base.
func TestAbsorb(t *testing.T) {
	dir := t.TempDir()
	ids, was := chain(t, dir, 3000, 4)
	top := filepath.Join(dir, ids[3].FileName())
	for _, drop := range []int{2, 1, 0} {
		require.NoError(t, snapshot.Absorb(ctx, snapshot.Disk{}, top, snapshot.Options{}))
		require.NoError(t, os.Remove(filepath.Join(dir, ids[drop].FileName())))
		f, err := snapshot.Open(snapshot.Disk{}, top)
		require.NoError(t, err)
		require.Equal(t, drop+1, f.Depth())
		require.NoError(t, f.Verify(ctx))
		comparePages(t, was[3], f)
		require.Equal(t, ids[3], f.Meta().UUID)
		require.NoError(t, f.Close())
	}
}

// TestGoldenChain: chains written by any release load for good.
func TestGoldenChain(t *testing.T) {
	const dir = "testdata/chain-1"
	if _, err := os.Stat(dir); os.IsNotExist(err) && *addGolden {
		require.NoError(t, os.Mkdir(dir, 0o755))
		chain(t, dir, 1025, 3)
	}
	for i, want := range []string{
		"38a5c756adf067af8556b21a4ae8c5f74f2614d834b47361cd7dc8675447962b",
		"bbfea2013373fe85c7f950d28a26e6bcf1dcf2be53a118621c68719718c5ea5b",
		"878b4b039e74ca83fc6047c63b3fc61ed59dde432eed4cda6deae1be0cb485ec",
	} {
		f, err := snapshot.Open(snapshot.Disk{}, filepath.Join(dir, snapshot.UUID{byte(i + 1)}.FileName()))
		require.NoError(t, err)
		require.NoError(t, f.Verify(ctx))
		require.Equal(t, i+1, f.Depth())
		require.Equal(t, want, fmt.Sprintf("%x", f.Root()))
		require.NoError(t, f.Close())
	}
}

// TestLargeSectionsAreInherited: a kernel image is not written again.
func TestLargeSectionsAreInherited(t *testing.T) {
	dir := t.TempDir()
	m := memtest.New(600).Fill(1, 40)
	image := make([]byte, 1<<20)
	for i := range image {
		image[i] = byte(i * i >> 7)
	}
	put := func(id, parent snapshot.UUID, image []byte) snapshot.Stats {
		o := snapshot.Options{}
		if parent != (snapshot.UUID{}) {
			f, err := snapshot.Open(snapshot.Disk{}, filepath.Join(dir, parent.FileName()))
			require.NoError(t, err)
			defer f.Close()
			o.Parent, o.Changed = f, func(uint32) bool { return false }
		}
		secs := append(memtest.Sections(), snapshot.Section{Name: "images", Version: 1, Required: true, Data: image})
		st, err := snapshot.Write(ctx, snapshot.Disk{}, filepath.Join(dir, id.FileName()), snapshot.Meta{UUID: id}, secs, m, o)
		require.NoError(t, err)
		return st
	}
	put(snapshot.UUID{1}, snapshot.UUID{}, image)
	require.Less(t, put(snapshot.UUID{2}, snapshot.UUID{1}, image).Bytes, uint64(20_000))
	require.Less(t, put(snapshot.UUID{3}, snapshot.UUID{2}, image).Bytes, uint64(20_000))
	require.Greater(t, put(snapshot.UUID{4}, snapshot.UUID{3}, image[1:]).Bytes, uint64(1<<20), "another image")
	path := filepath.Join(dir, snapshot.UUID{3}.FileName())
	for range 3 { // as it is, and with what it rests on taken away
		f, err := snapshot.Open(snapshot.Disk{}, path)
		require.NoError(t, err)
		require.Nil(t, snapshot.Find(f.Small(), "images", ""))
		secs, err := f.Sections()
		require.NoError(t, err)
		require.Equal(t, image, snapshot.Find(secs, "images", "").Data)
		require.NoError(t, f.Verify(ctx))
		require.NoError(t, f.Close())
		require.NoError(t, snapshot.Absorb(ctx, snapshot.Disk{}, path, snapshot.Options{}))
	}
}
