package host

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFree(t *testing.T) {
	n, err := Free(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, n)
	_, err = Free(filepath.Join(t.TempDir(), "none"))
	require.Error(t, err)
}
