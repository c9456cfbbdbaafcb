package mem

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// spy records what a watcher is told.
type spy struct{ log []string }

func (s *spy) CodeWritten(page uint32, off, n int) {
	s.log = append(s.log, fmt.Sprintf("code %d+%#x,%d", page, off, n))
}

func (s *spy) TableWritten(page uint32, off int, old, v uint64) {
	s.log = append(s.log, fmt.Sprintf("table %d+%#x %x->%x", page, off, old, v))
}

func (s *spy) Vanished() { s.log = append(s.log, "vanished") }

func TestReadWriteRoundHoles(t *testing.T) {
	m := newTest(t, 8192, bios(0x4000, 4096)) // hole at 2000-3fff and from 5000
	require.NoError(t, m.Load(0x4000, bytes.Repeat([]byte{0xbb}, 4096)))
	all := make([]byte, 0x6000)
	assert.True(t, m.Write(0, bytes.Repeat([]byte{0x11}, len(all))), "ROM and holes drop it")
	m.Read(0, all)
	want := bytes.Repeat([]byte{0x11}, 0x2000)
	want = append(want, bytes.Repeat([]byte{0xff}, 0x2000)...)
	want = append(want, bytes.Repeat([]byte{0xbb}, 0x1000)...)
	want = append(want, bytes.Repeat([]byte{0xff}, 0x1000)...)
	assert.True(t, bytes.Equal(want, all))
}

func TestAccessNearTheEndOfAddresses(t *testing.T) {
	m := newTest(t, 4096)
	b := make([]byte, 64)
	for _, pa := range []uint64{1<<52 - 32, 1 << 52, 1 << 63, ^uint64(0), ^uint64(0) - 31} {
		clear(b)
		assert.True(t, m.Write(pa, bytes.Repeat([]byte{1}, 64)))
		m.Read(pa, b)
		assert.Equal(t, bytes.Repeat([]byte{0xff}, 64), b, "%#x", pa)
	}
	assert.True(t, m.Zero(0), "no write came round to address 0")
	assert.False(t, m.Present(0))
}

func TestLoad(t *testing.T) {
	m := newTest(t, 8192, bios(0x4000, 4096))
	for _, tt := range []struct {
		pa   uint64
		n    int
		want string
	}{
		{0x1ff0, 0x20, "memory: load 32 bytes at 0x1ff0: not all of it is memory"},
		{0x3fff, 2, "not all of it"},
		{0x4fff, 2, "not all of it"},
		{^uint64(0), 2, "not all of it"},
		{0x4ffe, 2, ""},
		{0xffe, 4, ""},
		{0x9000, 0, ""},
	} {
		err := m.Load(tt.pa, bytes.Repeat([]byte{7}, tt.n))
		if tt.want != "" {
			assert.ErrorContains(t, err, tt.want)
			continue
		}
		assert.NoError(t, err)
		got := make([]byte, tt.n)
		m.Read(tt.pa, got)
		assert.Equal(t, bytes.Repeat([]byte{7}, tt.n), got)
	}
	got := make([]byte, 1)
	m.Read(0x1ff0, got)
	assert.Zero(t, got[0], "a refused load writes nothing")
}

func TestRestore(t *testing.T) {
	m := newTest(t, 8192, bios(0x4000, 4096))
	c := m.Consumer("test")
	page := bytes.Repeat([]byte{3}, PageSize)
	require.NoError(t, m.Restore(2, page))
	assert.Equal(t, []uint64{0b100}, c.Harvest(nil))
	got := make([]byte, PageSize)
	m.Read(0x4000, got)
	assert.Equal(t, page, got)
	assert.EqualError(t, m.Restore(3, page), "memory: restore page 3 of 3: 4096 bytes, must be 4096")
	assert.ErrorContains(t, m.Restore(0, page[:4095]), "4095 bytes, must be 4096")
	e := m.Epoch(0)
	assert.EqualError(t, m.Restore(2, page), "memory: restore page 2: an epoch's pool is full")
	assert.ErrorContains(t, m.Load(0x4000, page), "an epoch's pool is full")
	e.Close()
}

func TestWatcher(t *testing.T) {
	m := newTest(t, 8*4096)
	w := &spy{}
	m.SetWatcher(w)
	m.SetFlag(1, FlagCode)
	m.SetFlag(2, FlagTable)
	m.SetFlag(3, FlagCode|FlagTable)
	for _, tt := range []struct {
		name string
		pa   uint64
		b    []byte
		want []string
	}{
		{"plain page", 0x10, []byte{1}, nil},
		{"code", 0x1ffe, []byte{1}, []string{"code 1+0xffe,1"}},
		{"code again, unchanged", 0x1ffe, []byte{1}, []string{"code 1+0xffe,1"}},
		{"one byte of an entry", 0x2013, []byte{0xab}, []string{"table 2+0x10 0->ab000000"}},
		{"unchanged entry", 0x2010, []byte{0, 0, 0, 0xab}, nil},
		{"across two entries", 0x2016, []byte{1, 0, 0, 2}, []string{
			"table 2+0x10 ab000000->10000ab000000", "table 2+0x18 0->200",
		}},
		{"three, one unchanged", 0x2ff0 - 8, append(append([]byte{5}, make([]byte, 15)...), 6), []string{
			"table 2+0xfe8 0->5", "table 2+0xff8 0->6",
		}},
		{"across pages", 0x2fff, []byte{9, 9}, []string{
			"table 2+0xff8 6->900000000000006", "code 3+0x0,1", "table 3+0x0 0->9",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.log = nil
			require.True(t, m.Write(tt.pa, tt.b))
			assert.Equal(t, tt.want, w.log)
		})
	}
	w.log = nil
	require.NoError(t, m.Restore(3, make([]byte, PageSize)))
	require.NoError(t, m.Load(0x1000, []byte{1}))
	assert.Equal(t, []string{"code 3+0x0,4096", "table 3+0x0 9->0", "code 1+0x0,1"}, w.log)
	m.ClearFlag(3, FlagCode|FlagTable)
	m.ClearFlag(1, FlagCode)
	w.log = nil
	require.True(t, m.Write(0x1000, make([]byte, 4096)))
	require.True(t, m.Write(0x3000, make([]byte, 4096)))
	assert.Empty(t, w.log)
}

// A refused write is not reported, and leaves its page alone.
func TestWriteStalls(t *testing.T) {
	m := newTest(t, 4*4096)
	w := &spy{}
	m.SetWatcher(w)
	require.True(t, m.Write(0, bytes.Repeat([]byte{1}, 4*4096)))
	for p := range uint32(4) {
		m.SetFlag(p, FlagCode)
	}
	w.log = nil
	e := m.Epoch(1)
	assert.False(t, m.Write(0xfff, bytes.Repeat([]byte{2}, 4098)))
	assert.Equal(t, []string{"code 0+0xfff,1"}, w.log)
	got := make([]byte, 4)
	m.Read(0xffe, got)
	assert.Equal(t, []byte{1, 2, 1, 1}, got)
	assert.Equal(t, FlagCode|FlagClean, m.Flags(1))
	e.Done(0)
	<-m.Room()
	e.Done(2)
	assert.True(t, m.Write(0xfff, bytes.Repeat([]byte{2}, 4098)))
	assert.Equal(t, 1, e.Held())
	e.Close()
}
