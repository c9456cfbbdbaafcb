package host

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func eachMapping(t *testing.T, f func(t *testing.T, m Mapping)) {
	for _, m := range []Mapping{System, Heap} {
		t.Run(m.Name, func(t *testing.T) { f(t, m) })
	}
}

func TestMapPages(t *testing.T) {
	eachMapping(t, func(t *testing.T, m Mapping) {
		for _, size := range []int{4096, 3 * 4096, 64 << 20} {
			b, err := m.MapPages(uint64(size))
			require.NoError(t, err)
			require.Len(t, b, size)
			assert.Equal(t, size, cap(b))
			for _, i := range []int{0, size / 2, size - 1} {
				assert.Zero(t, b[i], "byte %d of %d", i, size)
				b[i] = 0xa5
				assert.Equal(t, byte(0xa5), b[i])
			}
			require.NoError(t, m.UnmapPages(b))
		}
	})
}

// Memory that was used and given back must not come back with old content.
func TestMapPagesZeroedAgain(t *testing.T) {
	eachMapping(t, func(t *testing.T, m Mapping) {
		for range 4 {
			b, err := m.MapPages(1 << 20)
			require.NoError(t, err)
			for i := 0; i < len(b); i += 512 {
				require.Zero(t, b[i])
				b[i] = 1
			}
			require.NoError(t, m.UnmapPages(b))
		}
	})
}

func TestMapPagesRefuses(t *testing.T) {
	eachMapping(t, func(t *testing.T, m Mapping) {
		for _, size := range []uint64{0, 1, 4095, 4097, maxMap + 4096, 1 << 63, ^uint64(0)} {
			b, err := m.MapPages(size)
			assert.Nil(t, b)
			assert.ErrorContains(t, err, "size must be a multiple of 4096", "size %d", size)
		}
	})
}
