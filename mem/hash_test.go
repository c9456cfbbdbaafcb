package mem

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLeaves(t *testing.T) {
	m := newTest(t, 70*PageSize, bios(0xfffff000, 4096))
	leaves := m.Leaves()
	require.Len(t, leaves, 71)
	for p, l := range leaves {
		require.Equal(t, zeroLeaf, l, "page %d", p)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		for range r.IntN(10) {
			p, o := r.IntN(70), r.IntN(PageSize)
			require.True(t, m.Write(uint64(p*PageSize+o), []byte{byte(r.IntN(3))}))
		}
		require.NoError(t, m.Load(0xfffff000, []byte{byte(r.IntN(256))}))
		require.Equal(t, m.hashAll(), m.Leaves())
	}
}

// The rule is frozen: a change of these constants breaks every saved machine.
func TestLeafIsFrozen(t *testing.T) {
	var b [PageSize]byte
	leaf := leafOf(&b)
	assert.Equal(t, "3ee8dc4f9e7ee49593d76fe148c689ba", hex.EncodeToString(leaf[:]))
	for i := range b {
		b[i] = byte(i)
	}
	leaf = leafOf(&b)
	assert.Equal(t, "03916578969f7a66eb4b7c3707879151", hex.EncodeToString(leaf[:]))
}

func TestPresentAndZero(t *testing.T) {
	m := newTest(t, 3*PageSize)
	require.True(t, m.Write(PageSize, []byte{1}))
	require.True(t, m.Write(2*PageSize, []byte{0}))
	for p, want := range []struct{ present, zero bool }{{false, true}, {true, false}, {true, true}} {
		assert.Equal(t, want.present, m.Present(uint32(p)), "page %d", p)
		assert.Equal(t, want.zero, m.Zero(uint32(p)), "page %d", p)
	}
	require.NoError(t, m.Restore(1, make([]byte, PageSize)))
	assert.True(t, m.Zero(1))
	assert.Equal(t, zeroLeaf, m.Leaves()[1])
}

func TestParanoid(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(m *Memory, c *Consumer)
		want string
	}{
		{"honest writes", func(m *Memory, c *Consumer) {
			for i := range 6 {
				m.Write(uint64(i%3)*PageSize, []byte{byte(i + 1)})
				c.Harvest(nil)
				m.Leaves()
			}
		}, ""},
		{"a write without Touch", func(m *Memory, c *Consumer) {
			m.Bytes()[2*PageSize+5] = 1
			c.Harvest(nil)
		}, "memory: page 2 at 0x2000 changed without its dirty bit for \"test\""},
		{"seen by Check alone", func(m *Memory, _ *Consumer) {
			m.Bytes()[69*PageSize] = 1
		}, "memory: page 69 at 0xfffff000 changed without its dirty bit"},
		{"dirty again only for the other", func(m *Memory, c *Consumer) {
			m.Write(0, []byte{1})
			c.Harvest(nil)
			m.Bytes()[0] = 2 // c's harvest made it clean
			c.Harvest(nil)
		}, "page 0 at 0x0 changed without its dirty bit for \"test\""},
		{"found once, kept", func(m *Memory, c *Consumer) {
			m.Bytes()[PageSize] = 1
			c.Harvest(nil)
			m.Write(PageSize, []byte{9})
			c.Harvest(nil)
			m.Leaves()
		}, "page 1 at 0x1000 changed"},
		{"consumer made later", func(m *Memory, _ *Consumer) {
			late := m.Consumer("late")
			m.Bytes()[PageSize] = 1
			late.Harvest(nil)
		}, "dirty bit for \"late\""},
		{"off", func(m *Memory, c *Consumer) {
			m.SetParanoid(false)
			m.Bytes()[PageSize] = 1
			c.Harvest(nil)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newTest(t, 69*PageSize, bios(0xfffff000, 4096))
			c := m.Consumer("test")
			m.Write(3*PageSize, bytes.Repeat([]byte{1}, 10))
			m.SetParanoid(true)
			require.NoError(t, m.Check())
			tt.do(m, c)
			if err := m.Check(); tt.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, tt.want)
			}
		})
	}
}
