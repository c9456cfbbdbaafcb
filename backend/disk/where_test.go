package disk

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// pieces are random, each another.
func pieces(n int) []byte {
	b := make([]byte, n*PieceSize)
	rng := rand.NewChaCha8([32]byte{3})
	_, _ = rng.Read(b)
	return b
}

func piece(b []byte, i int) []byte { return b[i*PieceSize:][:PieceSize] }

// readWhole has a drive read all of it, as a guest does, beginning at an offset.
func readWhole(t *testing.T, d *Drive, off int64, b []byte) {
	d.Read(int64(len(b)), off)
	require.NoError(t, d.Drain(context.Background()))
	got, ok := d.Collect()
	require.True(t, ok)
	require.Equal(t, b, got)
}

// TestWhere: what was read or written is found where it is, as long as it is there, in
// an image that others can read; and they find it there too.
func TestWhere(t *testing.T) {
	b := pieces(200)
	path := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(path, append(make([]byte, 512), append(b, make([]byte, 512)...)...), 0o600))
	d := openDrive(t, path, DriveOptions{Format: Raw, Claim: Claim{Name: "a"}})
	_, ok := d.Where(piece(b, 7))
	require.False(t, ok, "nobody read it")
	readWhole(t, d, 512, b)
	found := 0
	for i := range 200 {
		if off, ok := d.Where(piece(b, i)); ok {
			require.EqualValues(t, 512+i*PieceSize, off, "not at a multiple of its size")
			found++
		}
	}
	require.Greater(t, found, 190, "most of it")
	other, err := Readable(path, Options{Format: Raw}, false)
	require.NoError(t, err)
	got := make([]byte, PieceSize)
	require.NoError(t, other.ReadAt(got, 512+7*PieceSize))
	require.Equal(t, piece(b, 7), got)

	fresh := pieces(201)[200*PieceSize:]
	d.Write(fresh, 512+7*PieceSize, false)
	require.NoError(t, d.Drain(context.Background()))
	_, ok = d.Where(piece(b, 7))
	require.False(t, ok, "it was overwritten")
	off, ok := d.Where(fresh)
	require.True(t, ok)
	require.EqualValues(t, 512+7*PieceSize, off)
	require.NoError(t, other.ReadAt(got, off))
	require.Equal(t, fresh, got, "who has the file open sees it")
	require.NoError(t, other.Close())

	// Under an overlay it is the same image, which nobody writes to any more.
	_, _, err = d.Freeze(context.Background(), filepath.Join(t.TempDir(), "top"))
	require.NoError(t, err)
	off, ok = d.Where(fresh)
	require.True(t, ok)
	require.EqualValues(t, 512+7*PieceSize, off)
	d.Write(bytes.Repeat([]byte{7}, PieceSize), 512+9*PieceSize, false)
	require.NoError(t, d.Drain(context.Background()))
	_, ok = d.Where(piece(b, 9))
	require.True(t, ok, "it is still in the image below")
	_, ok = d.Where(bytes.Repeat([]byte{7}, PieceSize))
	require.False(t, ok, "it is in the overlay alone")
	top, err := Readable(d.Path(), Options{Format: Qcow2}, false)
	require.NoError(t, err)
	require.NoError(t, top.ReadAt(got, 512+9*PieceSize))
	require.Equal(t, piece(b, 9), got, "the bottom of the chain")
	require.NoError(t, top.Close())
}

// TestNotReadable: an image whose metadata change while it is in use is none to read.
func TestNotReadable(t *testing.T) {
	path := newImage(t, Qcow2, 1<<20)
	b := pieces(4)
	d := openDrive(t, path, DriveOptions{Claim: Claim{Name: "a"}})
	d.Write(b, 0, false)
	require.NoError(t, d.Sync(context.Background()))
	_, ok := d.Where(b[:PieceSize])
	require.False(t, ok)
	img, err := Readable(path, Options{Format: Qcow2}, false)
	require.NoError(t, err)
	require.Nil(t, img)
	img, err = Readable(path, Options{Format: Qcow2}, true) // if no machine writes to it
	require.NoError(t, err)
	require.NoError(t, img.Close())
	ro := openDrive(t, path, DriveOptions{ReadOnly: true})
	readWhole(t, ro, 0, b)
	_, ok = ro.Where(b[:PieceSize])
	require.True(t, ok)
	if _, err := os.Stat("/dev/zero"); err == nil {
		ok, err := regular("/dev/zero")
		require.NoError(t, err)
		require.False(t, ok)
	}
}

// TestPlacesAreBounded: what is remembered grows with what is read, up to a bound.
func TestPlacesAreBounded(t *testing.T) {
	var p places
	for i := range int64(2 * maxPlaces) {
		p.add(place{uint64(i) * 0x9e3779b97f4a7c15, (i + 1) * PieceSize})
		if i&(i+1) == 0 {
			require.LessOrEqual(t, len(p.slot), max(64, 8*int(i+1)))
		}
	}
	require.Len(t, p.slot, maxPlaces)
}

func BenchmarkNote(b *testing.B) {
	x := pieces(16)
	var p places
	b.SetBytes(int64(len(x)))
	for i := range b.N {
		p.note(x, int64(i)*int64(len(x)))
	}
}
