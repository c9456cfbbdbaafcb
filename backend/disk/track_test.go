package disk

import (
	"bytes"
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func blocksIn(set []uint64) (out []int) {
	for i := range 64 * len(set) {
		if set[i/64]>>(i%64)&1 != 0 {
			out = append(out, i)
		}
	}
	return out
}

func TestTrack(t *testing.T) {
	ctx := context.Background()
	for _, format := range []string{Raw, Qcow2} {
		d := openDrive(t, newImage(t, format, 20*TrackBlock), DriveOptions{Claim: Claim{Name: "a"}})
		d.Write(make([]byte, 512), 0, false)
		require.NoError(t, d.Drain(ctx))
		require.Nil(t, d.Harvest(), "nobody asked")
		d.Track()
		d.Write(make([]byte, 1024), 2*TrackBlock-512, false)
		d.Discard(5*TrackBlock, TrackBlock)
		d.WriteZeroes(7*TrackBlock-512, 1024, false)
		d.Read(512, 9*TrackBlock)
		d.Flush()
		require.NoError(t, d.Drain(ctx))
		require.Equal(t, 5, d.Dirty())
		require.Equal(t, []int{1, 2, 5, 6, 7}, blocksIn(d.Harvest()))
		require.Zero(t, d.Dirty())

		d.Budget(2)
		told := make(chan struct{}, 10)
		d.Notify(func() { told <- struct{}{} })
		d.Write(make([]byte, 3*TrackBlock), 0, false) // more than that, but alone
		<-told
		require.Equal(t, 3, d.Dirty())
		d.Write(make([]byte, 512), TrackBlock, false) // no more than that
		<-told
		d.Write(make([]byte, 512), 9*TrackBlock, false)
		require.Len(t, told, 0)
		require.Equal(t, []int{0, 1, 2}, blocksIn(d.Harvest()))
		<-told
		require.Equal(t, []int{9}, blocksIn(d.Harvest()))
		d.Budget(0)
		d.Write(make([]byte, 512), 0, false)
		d.Write(make([]byte, 512), TrackBlock, false)
		require.NoError(t, d.Drain(ctx), "whoever waits for all is not held up")
		require.Equal(t, []int{0, 1}, blocksIn(d.Harvest()))
		d.Untrack()
		d.Write(make([]byte, 512), TrackBlock, false)
		require.NoError(t, d.Drain(ctx))
		require.Zero(t, d.Dirty())
	}
}

// TestPresent: what an image may hold, and what it holds above the bottom of its chain.
func TestPresent(t *testing.T) {
	base := newImage(t, Raw, 8*TrackBlock)
	d := openDrive(t, base, DriveOptions{Claim: Claim{Name: "a"}})
	d.Write(bytes.Repeat([]byte{1}, TrackBlock), 3*TrackBlock, false)
	d.Write(bytes.Repeat([]byte{1}, 512), 6*TrackBlock, false)
	require.NoError(t, d.Sync(context.Background()))
	got, err := d.Present(false)
	require.NoError(t, err)
	require.Equal(t, []int{3, 6}, blocksIn(got))
	got, err = d.Present(true)
	require.NoError(t, err)
	require.Empty(t, blocksIn(got))

	for i, off := range []int64{1, 6} {
		_, _, err = d.Freeze(context.Background(), filepath.Join(t.TempDir(), "top"))
		require.NoError(t, err)
		d.Write(bytes.Repeat([]byte{2}, 512), off*TrackBlock, false)
		if i == 1 {
			d.WriteZeroes(3*TrackBlock, TrackBlock, true)
		}
		require.NoError(t, d.Sync(context.Background()))
	}
	got, err = d.Present(true)
	require.NoError(t, err)
	require.Equal(t, []int{1, 3, 6}, blocksIn(got), "zeros that hide something count")
	got, err = d.Present(false)
	require.NoError(t, err)
	require.Equal(t, []int{1, 6}, blocksIn(got), "and do not where there is nothing to hide")
}

func TestSum(t *testing.T) {
	ctx := context.Background()
	raw := newImage(t, Raw, 8*TrackBlock+512)
	img, err := Open(raw, Options{Format: Raw})
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		require.NoError(t, img.WriteAt([]byte{byte(rng.Uint32()) | 1}, rng.Int64N(img.Size())))
	}
	require.NoError(t, img.WriteAt(make([]byte, 512), 0))
	require.NoError(t, img.Close())
	want, err := Sum(ctx, raw, Options{Format: Raw})
	require.NoError(t, err)
	q := filepath.Join(t.TempDir(), "q")
	img, err = Open(raw, Options{Format: Raw, ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, Convert(ctx, q, img, CreateOptions{Format: Qcow2}, nil))
	require.NoError(t, img.Close())
	got, err := Sum(ctx, q, Options{})
	require.NoError(t, err)
	require.Equal(t, want, got, "in another format")
	img, err = Open(q, Options{})
	require.NoError(t, err)
	require.NoError(t, img.WriteAt([]byte{1}, img.Size()-1))
	require.NoError(t, img.Close())
	got, err = Sum(ctx, q, Options{})
	require.NoError(t, err)
	require.NotEqual(t, want, got)
}

// gated is an image whose writes wait.
type gated struct {
	Image
	began, gate chan struct{}
}

func (g *gated) WriteAt(p []byte, off int64) error {
	g.began <- struct{}{}
	<-g.gate
	return g.Image.WriteAt(p, off)
}

// TestClean: a block is not what it was from the begin of a write on, up to the harvest
// after its end.
func TestClean(t *testing.T) {
	d := openDrive(t, newImage(t, Raw, 4*TrackBlock), DriveOptions{Claim: Claim{Name: "a"}})
	g := &gated{d.img, make(chan struct{}), make(chan struct{})}
	d.img = g
	d.Track()
	is := func(want ...bool) {
		t.Helper()
		for i, w := range want {
			require.Equal(t, w, d.Clean(uint32(i)), "block %d", i)
		}
	}
	is(true, true, true)
	d.Write(make([]byte, 1024), 2*TrackBlock-512, false)
	<-g.began
	is(true, false, false, true)
	require.Empty(t, blocksIn(d.Harvest()))
	is(true, false, false, true)
	g.gate <- struct{}{}
	require.NoError(t, d.Drain(context.Background()))
	is(true, false, false, true)
	require.Equal(t, []int{1, 2}, blocksIn(d.Harvest()))
	is(true, true, true, true)
	d.Untrack()
	is(false, false)
}
