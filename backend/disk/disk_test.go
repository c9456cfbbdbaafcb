package disk

import (
	"bytes"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOverlayLeavesItsBase(t *testing.T) {
	for _, format := range []string{Raw, Qcow2} {
		dir := t.TempDir()
		path := filepath.Join(dir, "base")
		require.NoError(t, Create(path, CreateOptions{Format: format, Size: 1<<20 + 512}))
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		base, err := Open(path, Options{ReadOnly: true})
		require.NoError(t, err)
		over, err := Overlay(base, dir)
		require.NoError(t, err)
		model := make([]byte, over.Size())
		churn(t, rand.New(rand.NewSource(1)), over, model, 100)
		require.True(t, bytes.Equal(model, readAll(t, over)))
		require.NoError(t, over.Close())
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after))
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 1, "the overlay is private")
	}
}

func TestRawAgainstModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raw")
	require.NoError(t, Create(path, CreateOptions{Size: 1<<20 + 512}))
	img, err := Open(path, Options{Format: Raw})
	require.NoError(t, err)
	model := make([]byte, img.Size())
	churn(t, rand.New(rand.NewSource(1)), img, model, 200)
	require.NoError(t, img.Close())
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(model, got))
}

func TestRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	require.NoError(t, Create(path, CreateOptions{Format: Raw, Size: 4096}))
	img, err := Open(path, Options{})
	require.NoError(t, err)
	require.ErrorIs(t, img.WriteAt([]byte(magic), 0), ErrUnsupported, "a guessed raw image must not turn into another")
	require.NoError(t, img.WriteAt([]byte(magic), 512))
	require.ErrorIs(t, img.WriteAt(make([]byte, 512), 4096), ErrRange)
	require.ErrorIs(t, img.ReadAt(make([]byte, 512), -1), ErrRange)
	require.ErrorIs(t, ReadOnly(img).WriteAt(make([]byte, 512), 0), ErrReadOnly)

	_, err = Open(path, Options{})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, os.Getpid(), locked.Owner.PID)
	require.NoError(t, img.Close())

	img, err = Open(path, Options{ReadOnly: true})
	require.NoError(t, err)
	require.ErrorIs(t, img.WriteAt(make([]byte, 512), 0), ErrReadOnly)
	require.ErrorIs(t, img.Discard(0, 512), ErrReadOnly)
	require.NoError(t, img.Close())
	left, err := filepath.Glob(path + "?*")
	require.NoError(t, err)
	require.Empty(t, left, "locks are removed")
	require.ErrorContains(t, Create(path, CreateOptions{Size: 512}), "exists")
}

// TestLockEndsWithItsHolder has another process hold an image and be killed.
func TestLockEndsWithItsHolder(t *testing.T) {
	if path := os.Getenv("GODWIT_TEST_HOLD"); path != "" {
		img, err := Open(path, Options{})
		require.NoError(t, err)
		os.Stdout.WriteString("held\n")
		_, _ = io.Copy(io.Discard, os.Stdin) // for good: without anything to wait for, Go would end it
		require.NoError(t, img.Close())
	}
	path := filepath.Join(t.TempDir(), "a")
	require.NoError(t, Create(path, CreateOptions{Size: 512}))
	c := exec.Command(os.Args[0], "-test.run=^TestLockEndsWithItsHolder$")
	c.Env = append(os.Environ(), "GODWIT_TEST_HOLD="+path)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	_, err = c.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	b := make([]byte, 5)
	_, err = out.Read(b)
	require.NoError(t, err)
	_, err = Open(path, Options{})
	var locked *LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, c.Process.Pid, locked.Owner.PID)
	require.NoError(t, c.Process.Kill())
	require.Error(t, c.Wait())
	img, err := Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, img.Close())
}

func TestHeadersRefusedByName(t *testing.T) {
	good := (&header{version: 3, clusterBits: 16, refOrder: 4, refOff: 1 << 16, refClusters: 1}).encode()
	for _, tt := range []struct {
		name, want string
		change     func([]byte)
	}{
		{"version", "version 4", func(b []byte) { be.PutUint32(b[hVersion:], 4) }},
		{"encryption", "encryption", func(b []byte) { be.PutUint32(b[hCrypt:], 2) }},
		{"external data", "external data file", func(b []byte) { b[hIncompat+7] = featExternal }},
		{"subclusters", "extended L2 entries", func(b []byte) { b[hIncompat+7] = featExtendedL2 }},
		{"unknown", "incompatible feature 40", func(b []byte) { b[hIncompat+2] = 1 }},
		{"named", "time travel", func(b []byte) {
			b[hIncompat+2] = 1
			be.PutUint32(b[headerV3:], extFeatures)
			be.PutUint32(b[headerV3+4:], 48)
			b[headerV3+9] = 40
			copy(b[headerV3+10:], "time travel")
		}},
		{"corrupt", "marked as corrupt", func(b []byte) { b[hIncompat+7] = featCorrupt }},
		{"cluster size", "cluster size", func(b []byte) { be.PutUint32(b[hClusterBits:], 31) }},
		{"l1", "l1 table of 4294967295", func(b []byte) { be.PutUint32(b[hL1Size:], 1<<32-1) }},
		{"size", "size of", func(b []byte) { be.PutUint64(b[hSize:], 1<<63) }},
		{"l1 place", "l1 table at", func(b []byte) { be.PutUint64(b[hL1Off:], 1<<60) }},
		{"refcounts", "refcount table of", func(b []byte) { be.PutUint32(b[hRefClusters:], 1<<31) }},
		{"snapshots", "snapshots", func(b []byte) { be.PutUint32(b[hSnapshots:], 1<<31) }},
		{"backing", "backing file name", func(b []byte) {
			be.PutUint64(b[hBackingOff:], 1<<63)
			be.PutUint32(b[hBackingLen:], 9)
		}},
		{"protocol", `through "nbd"`, func(b []byte) {
			be.PutUint64(b[hBackingOff:], 512)
			be.PutUint32(b[hBackingLen:], 9)
			copy(b[512:], "nbd://x/y")
		}},
		{"extension", "header extension", func(b []byte) {
			be.PutUint32(b[headerV3:], 77)
			be.PutUint32(b[headerV3+4:], 1<<31)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(good)
			tt.change(b)
			_, err := openQcow2(&faultFile{b: b}, "mem", Options{})
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestBackingLoopEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loop")
	h := header{version: 3, clusterBits: 16, refOrder: 4, refOff: 1 << 16, refClusters: 1, backing: "loop"}
	require.NoError(t, os.WriteFile(path, h.encode(), 0o600))
	_, err := Open(path, Options{ReadOnly: true})
	require.ErrorIs(t, err, ErrCorrupt)
	require.Less(t, strings.Count(err.Error(), "chain"), 2)
	_, err = Open(path, Options{ReadOnly: true, NoBacking: true})
	require.ErrorIs(t, err, ErrUnsupported)
}

// hostile opens, reads, writes and checks an image of any bytes.
func hostile(b []byte, seed int64) {
	for _, ro := range []bool{true, false} {
		f := &faultFile{b: bytes.Clone(b), quiet: true}
		q, err := openQcow2(f, "mem", Options{ReadOnly: ro, NoBacking: true})
		if err != nil {
			continue
		}
		rng := rand.New(rand.NewSource(seed))
		p := make([]byte, 2048)
		for range 20 {
			off := rng.Int63n(max(1, q.Size()/512)) * 512
			if rng.Intn(2) == 0 {
				off %= 1 << 17
			}
			_ = q.ReadAt(p, off)
			_, _, _ = q.Extent(off, 512)
			if !ro {
				_ = q.WriteAt(p, off)
				_ = q.Discard(off, 2048)
			}
		}
		_, _, _ = q.snapshotTable()
		if ro && q.goBack("") == nil || ro && q.goBack("1") == nil {
			_ = q.ReadAt(p, 0)
			_ = q.ReadAt(p, max(0, q.Size()-2048))
		}
		if q.h.l1Size < 1024 {
			_, _ = q.check(false)
		}
		_ = q.Close()
	}
}

func seedImage(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "seed")
	require.NoError(t, Create(path, CreateOptions{Format: Qcow2, Size: 1 << 17, ClusterSize: 512}))
	img, err := Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, img.WriteAt(bytes.Repeat([]byte{7}, 5000), 1000))
	require.NoError(t, img.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func TestFlippedBitsDoNotPanic(t *testing.T) {
	seed := seedImage(t)
	rng := rand.New(rand.NewSource(3))
	for i := range 3000 {
		b := bytes.Clone(seed)
		for range 1 + rng.Intn(4) {
			at := rng.Intn(len(b))
			if rng.Intn(2) == 0 {
				at = rng.Intn(112)
			}
			b[at] ^= 1 << rng.Intn(8)
		}
		hostile(b[:len(b)-rng.Intn(2)*rng.Intn(len(b)-112)], int64(i))
	}
}

func FuzzQcow2(f *testing.F) {
	f.Add(seedImage(f))
	f.Fuzz(func(_ *testing.T, b []byte) { hostile(b, 1) })
}
