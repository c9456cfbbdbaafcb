package disk

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkWrite: sequential writes of 64 KiB into new clusters.
func BenchmarkWrite(b *testing.B) {
	path := filepath.Join(b.TempDir(), "a")
	require.NoError(b, Create(path, CreateOptions{Format: Qcow2, Size: 64 << 20}))
	img, err := Open(path, Options{})
	require.NoError(b, err)
	p := make([]byte, 1<<16)
	p[0] = 1
	b.SetBytes(int64(len(p)))
	for i := range b.N {
		require.NoError(b, img.WriteAt(p, int64(i%1024)<<16))
	}
	require.NoError(b, img.Close())
}
