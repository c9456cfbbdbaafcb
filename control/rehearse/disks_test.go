package rehearse

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/machine"
)

// TestRack: what one side has written the other one has once the disks are its own; the
// first cannot write any more, the copy below is not written, and other bytes, or one
// block more, have another digest.
func TestRack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk0")
	require.NoError(t, disk.Create(path, disk.CreateOptions{Format: disk.Qcow2, Size: 1 << 20}))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	f := &Fork{copied: func(id string) string { return filepath.Join(dir, id) }}
	c := machine.DiskConfig{ID: "disk0", File: "elsewhere", Size: 1 << 20}
	digest := func(r *rack) [32]byte {
		sum, err := r.digest()
		require.NoError(t, err)
		return sum
	}
	fresh := func() *rack {
		r := &rack{f: f}
		_, err := r.open(&c)
		require.NoError(t, err)
		return r
	}
	src, never := fresh(), fresh()
	dst := &rack{f: f, of: src}
	_, err = dst.open(&c)
	require.NoError(t, err)
	none := digest(never)
	for _, r := range []*rack{src, never} {
		r.writes[0].Write(bytes.Repeat([]byte{3}, 4096), 70<<10, false)
	}
	wrote := digest(src)
	require.NotEqual(t, none, wrote)
	require.Equal(t, wrote, digest(never))
	require.NoError(t, dst.take())
	require.Equal(t, wrote, digest(dst))
	require.Error(t, src.writes[0].Look(make([]byte, 512), 0), "it was let go of")
	dst.writes[0].Write([]byte{4}, 70<<10, false)
	require.NotEqual(t, wrote, digest(dst))
	never.writes[0].Write(make([]byte, 512), 900<<10, false)
	require.NotEqual(t, wrote, digest(never))
	for _, r := range []*rack{src, dst, never} {
		require.NoError(t, r.drives[0].Close())
		require.NoError(t, r.remove())
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "no overlay is left: %v", files)
}
