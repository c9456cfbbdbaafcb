package disk

import (
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCopySize: what a full copy takes is known before, zeros in the source aside.
func TestCopySize(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	dir := t.TempDir()
	raw := make([]byte, 24<<20)
	rng.Read(raw[4<<20 : 14<<20])
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raw"), raw, 0o600))
	d := openDrive(t, filepath.Join(dir, "raw"), DriveOptions{Claim: Claim{Name: "plover"}})
	_, _, err := d.Freeze(context.Background(), filepath.Join(dir, "over"))
	require.NoError(t, err)
	d.Write(raw[4<<20:6<<20], 20<<20, false)
	require.NoError(t, d.Sync(context.Background()))
	n, err := d.CopySize()
	require.NoError(t, err)
	require.NoError(t, d.Close())
	_, err = CopyLayer(context.Background(), filepath.Join(dir, "copy"), filepath.Join(dir, "over"), DeltaFull, Options{Format: Qcow2}, nil)
	require.NoError(t, err)
	st, err := os.Stat(filepath.Join(dir, "copy"))
	require.NoError(t, err)
	require.InEpsilon(t, st.Size(), n, 0.1)
}

// TestReflink copies by reflink where the file system of temporary files can; where it
// cannot, that is said before anything is made. TMPDIR=DIR on btrfs or xfs has it look.
func TestReflink(t *testing.T) {
	dir := t.TempDir()
	layer, copied := filepath.Join(dir, "layer"), filepath.Join(dir, "copy")
	b := make([]byte, 1<<20)
	rand.New(rand.NewSource(2)).Read(b)
	require.NoError(t, os.WriteFile(layer, b, 0o600))
	can := CanReflink(dir, layer)
	format, err := CopyLayer(context.Background(), copied, layer, DeltaReflink, Options{Format: Raw}, nil)
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	require.Empty(t, left)
	if can != nil {
		require.ErrorIs(t, can, ErrUnsupported)
		require.ErrorIs(t, err, ErrUnsupported)
		_, err = os.Stat(copied)
		require.ErrorIs(t, err, os.ErrNotExist)
		t.Skipf("refused as it should be; not tested here: that reflinks share blocks: %v", can)
	}
	require.NoError(t, err)
	require.Equal(t, Raw, format)
	require.NoError(t, os.WriteFile(layer, make([]byte, 1<<20), 0o600), "the layer may change under the copy")
	got, err := os.ReadFile(copied)
	require.NoError(t, err)
	require.Equal(t, b, got)
}
