package snapshot_test

import (
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

// TestContents counts what an incremental file holds, and a damaged one's parts are
// named.
func TestContents(t *testing.T) {
	dir := t.TempDir()
	m := memtest.New(3*snapshot.GroupPages).Fill(3, 2)
	first := save(t, dir, snapshot.UUID{1}, m, snapshot.UUID{}, nil)
	var was [5]bool // not zero
	for p := range was {
		was[p] = m.Leaf(uint32(p)) != snapshot.ZeroLeaf()
	}
	b := [snapshot.PageSize]byte{9}
	changed := map[uint32]bool{}
	for p := range uint32(5) { // four of them are equal to the first
		require.NoError(t, m.Restore(p, b[:]))
		changed[p] = true
	}
	second := save(t, dir, snapshot.UUID{2}, m, snapshot.UUID{1}, func(p uint32) bool { return changed[p] })
	for i, st := range []snapshot.Stats{first, second} {
		f, err := snapshot.Open(snapshot.Disk{}, filepath.Join(dir, snapshot.UUID{byte(i + 1)}.FileName()))
		require.NoError(t, err)
		c, err := f.Contents(ctx)
		require.NoError(t, err)
		p := c.Pages
		require.Equal(t, []uint32{st.Pages, st.Stored, st.Dup}, []uint32{p.Total, p.Stored, p.Dup})
		require.Equal(t, p.Total, p.Zero+p.Stored+p.Inherited)
		zero := uint32(0) // in the parent's groups as well, of which Stats knows nothing
		for q := range p.Total {
			if (i == 1 || q >= 5) && m.Leaf(q) == snapshot.ZeroLeaf() || i == 0 && q < 5 && !was[q] {
				zero++
			}
		}
		require.Equal(t, zero, p.Zero)
		require.Len(t, c.Sections, len(memtest.Sections()))
		raw, packed, rest := uint64(0), uint64(0), c.Index
		for _, k := range c.Chunks {
			raw, packed = raw+uint64(k.Pages)*snapshot.PageSize, packed+k.Bytes
		}
		require.Equal(t, []uint64{st.RawBytes, st.Packed}, []uint64{raw, packed})
		for _, s := range c.Sections {
			rest += s.Stored
		}
		require.Equal(t, st.Bytes, packed+rest, "every byte is of something")
		require.NoError(t, f.Close())
	}
	require.EqualValues(t, 4, second.Dup)

	path := filepath.Join(dir, snapshot.UUID{1}.FileName())
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	f, err := snapshot.Open(snapshot.Disk{}, path)
	require.NoError(t, err)
	defer f.Close()
	named := 0
	for at := 4096; at < len(file)-4096; at += 997 {
		one := [1]byte{file[at] ^ 1}
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = w.WriteAt(one[:], int64(at))
		require.NoError(t, err)
		fresh, err := snapshot.Open(snapshot.Disk{}, path)
		if err == nil {
			if _, err = fresh.Contents(ctx); err == nil {
				err = fresh.Verify(ctx)
			}
			require.NoError(t, fresh.Close())
		}
		var bad *snapshot.Altered
		require.ErrorAs(t, err, &bad, "byte %d", at)
		named++
		_, err = w.WriteAt(file[at:at+1], int64(at))
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	require.Greater(t, named, 100)
}

// small is a host with so much room.
type small struct {
	snapshot.Disk
	free uint64
}

func (s small) Free(string) (uint64, error) { return s.free, nil }

// TestFullDiskIsForeseen: a save does not begin where its end will not fit, and is
// not refused where it does.
func TestFullDiskIsForeseen(t *testing.T) {
	m := memtest.New(4000).Fill(5, 2)
	for _, c := range []snapshot.Codec{snapshot.None, snapshot.S2, snapshot.Zstd} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		o := snapshot.Options{Codec: c}
		st, err := snapshot.Write(ctx, small{free: math.MaxUint64}, path, snapshot.Meta{}, memtest.Sections(), m, o)
		require.NoError(t, err)
		require.NoError(t, os.Remove(path))

		_, err = snapshot.Write(ctx, small{free: st.Bytes * 3 / 4}, path, snapshot.Meta{}, memtest.Sections(), m, o)
		var full *snapshot.NoRoom
		require.ErrorAs(t, err, &full)
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.Equal(t, dir, full.Dir)
		require.Equal(t, st.Bytes*3/4, full.Free)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)

		_, err = snapshot.Write(ctx, small{free: st.Bytes * 5 / 4}, path, snapshot.Meta{}, memtest.Sections(), m, o)
		require.NoError(t, err, "%s: %d bytes", c, st.Bytes)
	}
}
