package mem

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/internal/host"
)

// newTest makes memory on the Go heap, which the race detector watches; it does
// not watch mappings.
func newTest(t testing.TB, ram uint64, extra ...Region) *Memory {
	t.Helper()
	m, err := newMemory(host.Heap, ram, extra)
	require.NoError(t, err)
	return m
}

func bios(base, size uint64) Region { return Region{Name: "bios", Base: base, Size: size, Kind: ROM} }

func TestNewRefuses(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		name  string
		ram   uint64
		extra []Region
		want  string
	}{
		{"no RAM", 0, nil, `memory: region "ram" has 0 bytes, must be a multiple of 4096`},
		{"RAM not whole pages", mib + 1, nil, `region "ram" has 1048577 bytes`},
		{"high RAM not whole pages", LowTop + 1, nil, `region "ram above 4 GiB" has 1 bytes`},
		{"RAM over the bound", MaxSize + PageSize, nil, "size is 68719480832 bytes or more, at most 68719476736"},
		{"RAM near 2^64", ^uint64(0) &^ 4095, nil, `region "ram above 4 GiB" has`},
		{"sum over the bound", MaxSize, []Region{bios(0xfffff000, 4096)}, "size is 68719480832 bytes or more"},
		{"region empty", mib, []Region{bios(0xfffff000, 0)}, `region "bios" has 0 bytes`},
		{"region size unaligned", mib, []Region{bios(0xfffff000, 4095)}, `region "bios" has 4095 bytes`},
		{"region base unaligned", mib, []Region{bios(0xfffff001, 4096)}, `region "bios" is at 0xfffff001`},
		{"region beyond 2^52", mib, []Region{bios(1<<52, 4096)}, `region "bios" is at 0x10000000000000`},
		{"region wraps", mib, []Region{bios(^uint64(4095), 8192)}, `region "bios" is at 0xfffffffffffff000`},
		{"in RAM", mib, []Region{bios(mib-4096, 8192)}, `region "bios" at 0xff000+0x2000 overlaps "ram" at 0x0+0x100000`},
		{"in high RAM", LowTop + mib, []Region{bios(HighBase, 4096)}, `overlaps "ram above 4 GiB"`},
		{"twice", mib, []Region{bios(2*mib, 8192), bios(2*mib+4096, 8192)}, `overlaps "bios"`},
		{"unknown kind", mib, []Region{{Name: "x", Base: 2 * mib, Size: 4096, Kind: 2}}, `region "x" has kind 2, at most 1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := New(tt.ram, tt.extra...)
			assert.Nil(t, m)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}

func TestLookup(t *testing.T) {
	type want struct {
		pa, off uint64
		kind    Kind
		ok      bool
	}
	rom, vram := bios(0xfffe0000, 0x20000), Region{Name: "vram", Base: 0xe0000000, Size: 0x3000}
	for _, tt := range []struct {
		name string
		ram  uint64
		want []want
	}{
		{"one page", 4096, []want{
			{0, 0, RAM, true},
			{4095, 4095, RAM, true},
			{4096, 0, RAM, false},
			{0xfffe0000, 4096, ROM, true},
			{0xffffffff, 4096 + 0x1ffff, ROM, true},
			{0xe0000000, 4096 + 0x20000, RAM, true},
			{0xe0002fff, 4096 + 0x22fff, RAM, true},
			{0xe0003000, 0, RAM, false},
			{HighBase, 0, RAM, false},
			{^uint64(0), 0, RAM, false},
		}},
		{"up to the hole", LowTop, []want{
			{LowTop - 1, LowTop - 1, RAM, true},
			{LowTop, 0, RAM, false},
			{HighBase, 0, RAM, false},
			{0xfffe0000, LowTop, ROM, true},
		}},
		{"one page above the hole", LowTop + 4096, []want{
			{LowTop - 1, LowTop - 1, RAM, true},
			{LowTop, 0, RAM, false},
			{HighBase - 1, LowTop + 4096 + 0x1ffff, ROM, true},
			{HighBase, LowTop, RAM, true},
			{HighBase + 4095, LowTop + 4095, RAM, true},
			{HighBase + 4096, 0, RAM, false},
		}},
		{"5 GiB", 5 << 30, []want{
			{HighBase + 2<<30 - 1, 5<<30 - 1, RAM, true},
			{HighBase + 2<<30, 0, RAM, false},
			{0xe0000000, 5<<30 + 0x20000, RAM, true},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := New(tt.ram, rom, vram)
			require.NoError(t, err)
			assert.Equal(t, tt.ram, m.RAMSize())
			assert.EqualValues(t, (tt.ram+0x23000)/4096, m.Pages())
			assert.Len(t, m.Bytes(), int(tt.ram+0x23000))
			for _, w := range tt.want {
				off, kind, ok := m.Lookup(w.pa)
				assert.Equal(t, w, want{w.pa, off, kind, ok})
				if ok {
					page := uint32(off / PageSize)
					assert.Equal(t, w.pa&^4095, m.PageAddr(page), "PageAddr(%d)", page)
				}
			}
			require.NoError(t, m.Close())
		})
	}
}

func TestRegions(t *testing.T) {
	m, err := New(LowTop+8192, bios(0xfffff000, 4096))
	require.NoError(t, err)
	assert.Equal(t, []Region{
		{"ram", 0, LowTop, RAM, 0},
		{"ram above 4 GiB", HighBase, 8192, RAM, LowTop},
		{"bios", 0xfffff000, 4096, ROM, LowTop + 8192},
	}, m.Regions())
	assert.PanicsWithValue(t, "godwit bug: memory: page 786435 of 786435", func() { m.PageAddr(m.Pages()) })
	require.NoError(t, m.Close())
	assert.EqualError(t, m.Close(), "memory: close: already closed")
}

func TestCloseRefusesOpenEpoch(t *testing.T) {
	m := newTest(t, 4096)
	e := m.Epoch(1)
	assert.EqualError(t, m.Close(), "memory: close: 1 epochs are open")
	e.Close()
	e.Close()
	assert.NoError(t, m.Close())
}

func TestBytes(t *testing.T) {
	b := make([]byte, 24)
	Store64(b, 1, 0x1122334455667788)
	Store32(b, 9, 0xaabbccdd)
	Store16(b, 13, 0xeeff)
	Store8(b, 15, 0x99)
	assert.Equal(t, []byte{0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xdd, 0xcc, 0xbb, 0xaa, 0xff, 0xee, 0x99}, b[:16])
	assert.Equal(t, uint64(0x1122334455667788), Load64(b, 1))
	assert.Equal(t, uint32(0xaabbccdd), Load32(b, 9))
	assert.Equal(t, uint16(0xeeff), Load16(b, 13))
	assert.Panics(t, func() { Load64(b, 17) })
	assert.Panics(t, func() { Store16(b, 23, 0) })
	assert.Panics(t, func() { Load32(b, ^uint64(0)-1) })
}
