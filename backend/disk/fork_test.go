package disk

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// look is what a drive or an image holds.
func look(t *testing.T, img interface {
	ReadAt(p []byte, off int64) error
}, size int64,
) []byte {
	b := make([]byte, size)
	require.NoError(t, img.ReadAt(b, 0))
	return b
}

// TestFork: whatever is written while it is copied, a fork holds what the disk held at its
// moment; raw, qcow2, and with an image below, which it is then over too. The drive's own
// files stay its own.
func TestFork(t *testing.T) {
	const size = 20*TrackBlock - 512
	for _, kind := range []string{Raw, Qcow2, "overlay"} {
		rng := rand.New(rand.NewPCG(1, 2))
		ctx, dir := context.Background(), t.TempDir()
		o := DriveOptions{Claim: Claim{Name: "a"}}
		path := newImage(t, map[string]string{Raw: Raw, Qcow2: Qcow2, "overlay": Raw}[kind], size)
		if kind == "overlay" {
			below := openDrive(t, path, o)
			below.Write(bytes.Repeat([]byte{9}, 5*TrackBlock), 0, false)
			require.NoError(t, below.Close())
			o.Overlay = filepath.Join(dir, "over")
		}
		d := openDrive(t, path, o)
		scribble := func(n int) {
			for range n {
				off, n := int64(rng.IntN(size-4096))&^511, int64(rng.IntN(8)*512)
				if rng.IntN(4) == 0 {
					d.Discard(off, n)
				} else {
					d.Write(bytes.Repeat([]byte{byte(rng.Uint32())}, int(n)), off, false)
				}
			}
			require.NoError(t, d.Drain(ctx))
		}
		scribble(15)
		f, err := d.PrepareFork(filepath.Join(dir, "fork"))
		require.NoError(t, err)
		scribble(5)
		d.mu.Lock()
		img := d.img
		d.mu.Unlock()
		want := look(t, img, size)
		f.Begin()
		scribble(20)
		done := make(chan error, 1)
		go func() { done <- f.Copy(ctx) }()
		scribble(60)
		require.NoError(t, <-done)
		require.Nil(t, d.forked())
		require.NotEqual(t, want, look(t, img, size))
		scribble(5)

		fork, err := Open(filepath.Join(dir, "fork"), Options{ReadOnly: true})
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, look(t, fork, size)), kind)
		require.NoError(t, fork.Close())
		chain, err := Chain(filepath.Join(dir, "fork"), Options{Format: Qcow2})
		require.NoError(t, err)
		require.Len(t, chain, map[string]int{Raw: 1, Qcow2: 1, "overlay": 2}[kind])
		require.NoError(t, d.Close())
	}
}

// TestForkFails: a fork that cannot be written is none, and does no harm to the disk.
func TestForkFails(t *testing.T) {
	d := openDrive(t, newImage(t, Raw, 4*TrackBlock), DriveOptions{Claim: Claim{Name: "a"}})
	d.Write(bytes.Repeat([]byte{1}, TrackBlock), 0, false)
	require.NoError(t, d.Drain(context.Background()))
	path := filepath.Join(t.TempDir(), "fork")
	f, err := d.PrepareFork(path)
	require.NoError(t, err)
	f.out = full{f.out}
	f.Begin()
	d.Write(bytes.Repeat([]byte{2}, TrackBlock), 0, false)
	require.NoError(t, d.Drain(context.Background()))
	require.NoError(t, d.Err(), "the guest's write is done")
	require.ErrorIs(t, f.Copy(context.Background()), errFull)

	f, err = d.PrepareFork(path + "2")
	require.NoError(t, err)
	f.Begin()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, f.Copy(ctx), context.Canceled)
	require.Nil(t, d.forked())
}

var errFull = errors.New("no room")

type full struct{ Image }

func (full) WriteAt([]byte, int64) error { return errFull }
