package mem

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// resident is what the process occupies, in bytes.
func resident(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.Atoi(string(bytes.Fields(b)[1]))
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// Memory that the guest never wrote costs nothing but our tables, whatever we do
// with it: 6 GiB of RAM, of which one page in each GiB is used.
func TestUnusedMemoryIsFree(t *testing.T) {
	const ram = 6 << 30
	before := resident(t)
	m, err := New(ram)
	require.NoError(t, err)
	for off := uint64(0); off < ram; off += 1 << 30 {
		require.True(t, m.Touch(uint32(off/PageSize)))
		m.Bytes()[off] = 1
	}
	c := m.Consumer("test")
	leaves := m.Leaves()
	e := m.Epoch(4)
	var b [PageSize]byte
	for p := uint32(0); p < m.Pages(); p += 8 {
		if m.Present(p) {
			continue
		}
		if e.Read(p, &b); b != zeroPage || !m.Zero(p) || leaves[p] != zeroLeaf {
			t.Fatalf("page %d is not zero", p)
		}
	}
	c.Harvest(nil)
	e.Close()
	// Of this 33 MiB are tables: a byte, some bits, a leaf and an epoch's slot for
	// each page; the rest is room for huge pages and the test process itself.
	assert.Less(t, resident(t)-before, 128<<20)
	require.NoError(t, m.Close())
}
