package host

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLocked: to ask after a lock leaves no trace, and is in nobody's way.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	locked, err := Locked(path)
	require.NoError(t, err)
	require.False(t, locked)
	require.NoFileExists(t, path)

	var wg sync.WaitGroup
	var over atomic.Bool
	wg.Go(func() {
		for !over.Load() {
			_, err := Locked(path)
			assert.NoError(t, err)
		}
	})
	for range 100 {
		f, ok, err := Lock(path)
		require.NoError(t, err)
		require.True(t, ok, "nobody holds it")
		locked, err := Locked(path)
		require.NoError(t, err)
		require.True(t, locked)
		require.NoError(t, f.Close())
	}
	over.Store(true)
	wg.Wait()
	f, ok, err := Lock(path)
	require.NoError(t, err)
	require.True(t, ok)
	_, ok, err = Lock(path)
	require.NoError(t, err)
	require.False(t, ok)
	require.NoError(t, f.Close())
	locked, err = Locked(path)
	require.NoError(t, err)
	require.False(t, locked)
	require.NoError(t, os.Remove(path))
}
