package mem

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLater: a memory whose pages come later hashes as if they were here, page by
// page and mixed with what the guest writes.
func TestLater(t *testing.T) {
	const pages = 200
	want, m := newTest(t, pages<<PageShift), newTest(t, pages<<PageShift)
	content := func(p uint32) *[PageSize]byte {
		b := new([PageSize]byte)
		if p%5 != 0 { // else it turns out to be zero
			b[p] = byte(1 + p)
		}
		return b
	}
	coming := make([]uint64, (pages+63)/64)
	for p := uint32(0); p < 150; p++ {
		require.NoError(t, want.Restore(p, content(p)[:]))
		coming[p>>6] |= 1 << (p & 63)
	}
	asked := 0
	require.NoError(t, m.Later(coming, func(p uint32) ([16]byte, error) {
		asked++
		return leafOf(content(p)), nil
	}))
	require.Zero(t, asked, "nothing is asked for that nobody wants to know")
	require.Equal(t, 150, m.Missing())
	require.False(t, m.Touch(3))
	require.Equal(t, PageAbsent, m.Refused().Why)

	for p := uint32(0); p < 150; p += 3 {
		m.FillChecked(p, content(p))
	}
	require.True(t, m.Touch(3))
	m.Bytes()[3<<PageShift] = 9
	require.True(t, want.Touch(3))
	want.Bytes()[3<<PageShift] = 9
	require.Equal(t, want.Leaves(), m.Leaves())
	require.Equal(t, 100, asked)
	require.Equal(t, 100, m.Missing())
	for p := uint32(0); p < 150; p++ {
		m.FillChecked(p, content(p))
	}
	require.Zero(t, m.Missing())
	require.Equal(t, want.Leaves(), m.Leaves())
	require.Equal(t, 100, asked, "what is known is not asked for again")
	require.NoError(t, m.Lost())
}

func TestLaterLost(t *testing.T) {
	m := newTest(t, 64<<PageShift)
	bad := errors.New("bad sector")
	require.NoError(t, m.Later([]uint64{6}, func(uint32) ([16]byte, error) { return [16]byte{}, bad }))
	m.Leaves()
	require.ErrorIs(t, m.Lost(), bad)
	require.Error(t, m.Later([]uint64{1}, nil), "while pages are absent")
	w := newTest(t, 64<<PageShift)
	require.True(t, w.Touch(1))
	require.Error(t, w.Later([]uint64{2}, nil), "over what was written")
}
