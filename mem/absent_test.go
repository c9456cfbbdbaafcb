package mem

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func setOf(pages ...uint32) []uint64 {
	s := make([]uint64, 3)
	for _, p := range pages {
		s[p>>6] |= 1 << (p & 63)
	}
	return s
}

func promised(v byte) func(uint32) [16]byte {
	return func(uint32) [16]byte { return leafOf((*[PageSize]byte)(fill(v))) }
}

func TestAbsentPages(t *testing.T) {
	m := newTest(t, 70*PageSize)
	w := &spy{}
	m.SetWatcher(w)
	require.True(t, m.Write(0, fill(1)))
	c := m.Consumer("c")
	require.True(t, m.Touch(0))
	gen := m.Gen()
	require.NoError(t, m.Absent(setOf(0, 65), promised(9)))
	assert.Equal(t, []string{"vanished"}, w.log)
	assert.Greater(t, m.Gen(), gen, "cached write permissions are void")
	assert.Equal(t, 2, m.Missing())
	assert.Equal(t, setOf(0, 65)[:2], m.Gone(nil))
	assert.True(t, m.Present(65))
	assert.False(t, m.Zero(65))
	assert.Equal(t, promised(9)(0), m.Leaves()[0])
	for range 2 {
		assert.False(t, m.Touch(65))
		assert.Equal(t, Refusal{Why: PageAbsent, Page: 65}, m.Refused())
		assert.False(t, m.CanRead(0))
		assert.False(t, m.Read(PageSize-1, make([]byte, 2)), "part of it is absent")
		assert.Equal(t, Refusal{Why: PageAbsent}, m.Refused())
	}
	m.SetFlag(65, FlagAbsent)
	m.ClearFlag(65, FlagAbsent)
	assert.Equal(t, FlagAbsent|FlagClean, m.Flags(65), "not the engines' to clear")
	assert.ErrorContains(t, m.Restore(65, fill(9)), "memory: restore page 65: the page is absent")
	assert.ErrorIs(t, m.Fill(65, fill(8)), ErrLeaf)
	assert.Error(t, m.Fill(70, fill(9)))
	assert.Error(t, m.Fill(0, fill(9)[1:]))
	assert.Equal(t, 2, m.Missing())

	c.Harvest(nil)
	require.NoError(t, m.Fill(65, fill(9)))
	<-m.Room()
	assert.Zero(t, c.Count(), "nobody wrote")
	assert.Equal(t, FlagClean, m.Flags(65))
	require.True(t, m.Write(65*PageSize, []byte{7}))
	assert.Equal(t, []uint32{65}, pagesOf(c.Harvest(nil)))
	assert.Equal(t, m.leafNow(65), m.Leaves()[65])

	m.Keep()
	assert.Zero(t, m.Missing())
	assert.Equal(t, promised(1)(0), m.Leaves()[0], "what it held")
}

// Zeros that are promised are there at once.
func TestAbsentZero(t *testing.T) {
	m := newTest(t, 70*PageSize)
	require.True(t, m.Write(0, fill(1)))
	require.NoError(t, m.Absent(setOf(0, 1), promised(0)))
	assert.Zero(t, m.Missing())
	assert.True(t, m.Zero(0))
	assert.False(t, m.Present(1))
	assert.Equal(t, zeroLeaf, m.Leaves()[0])
}

func TestAbsentRefuses(t *testing.T) {
	m := newTest(t, 70*PageSize)
	assert.ErrorContains(t, m.Absent(setOf(70), promised(1)), "memory: page 70 of 70 cannot be absent")
	e := m.Epoch(1)
	assert.ErrorContains(t, m.Absent(nil, nil), "1 epochs are open")
	e.Close()
}

func TestRestoreHashed(t *testing.T) {
	m := newTest(t, 70*PageSize)
	m.SetParanoid(true)
	require.NoError(t, m.RestoreHashed(3, fill(4), promised(4)(0)))
	assert.Zero(t, m.hasher.Count(), "not hashed again")
	assert.Equal(t, m.hashAll(), m.Leaves())
	require.True(t, m.Write(3*PageSize, []byte{1}))
	assert.Equal(t, m.hashAll(), m.Leaves())
	assert.NoError(t, m.Check())
	assert.Error(t, m.RestoreHashed(70, fill(4), promised(4)(0)))
}

func TestBudget(t *testing.T) {
	m := newTest(t, 70*PageSize)
	c, other := m.Consumer("c"), m.Consumer("other")
	c.SetBudget(2)
	require.True(t, m.Touch(1))
	require.True(t, m.Touch(2))
	assert.False(t, m.Touch(3))
	assert.Equal(t, Refusal{Why: BudgetSpent, Page: 3}, m.Refused())
	other.Harvest(nil)
	assert.True(t, m.Touch(1), "is dirty already")
	assert.Equal(t, 2, c.Count())
	assert.Equal(t, 1, other.Count(), "3 was refused to all")
	m.SetGrace(true)
	assert.True(t, m.Touch(3))
	m.SetGrace(false)
	assert.False(t, m.Touch(4))
	<-m.Room()
	c.SetBudget(4)
	<-m.Room()
	assert.True(t, m.Touch(4))
	assert.False(t, m.Touch(5))
	c.Harvest(nil)
	<-m.Room()
	assert.True(t, m.Touch(5))
	c.SetBudget(0)
	assert.False(t, m.Touch(6))
	assert.Equal(t, uint64(1), m.Refused().Interval)
	c.SetBudget(-1)
	assert.True(t, m.Touch(6))
	c.SetBudget(0)
	c.Release()
	assert.True(t, m.Touch(7))
}

func TestWriters(t *testing.T) {
	m := newTest(t, 70*PageSize)
	c := m.Consumer("c")
	touch := func(w Writer, pages ...uint32) {
		m.SetWriter(w)
		for _, p := range pages {
			require.True(t, m.Touch(p))
		}
	}
	loop, lone, disk := Writer{RIP: 0x1000, VCPU: 1}, Writer{RIP: 0x2000, CPL: 3}, Writer{Device: 2}
	touch(loop, 0)
	top, rest := c.Writers(3)
	assert.Empty(t, top, "nobody asked for notes yet")
	assert.EqualValues(t, 1, rest)
	c.Harvest(nil)
	c.NoteWriters()
	c.NoteWriters()
	touch(loop, 1, 2, 3, 4, 5)
	touch(disk, 6, 7)
	touch(lone, 8, 1)
	top, rest = c.Writers(2)
	assert.Equal(t, []Tally{{loop, 5}, {disk, 2}}, top)
	assert.EqualValues(t, 1, rest)
	c.Harvest(nil)
	top, rest = c.Writers(2)
	assert.Empty(t, top)
	assert.Zero(t, rest)
}

// Whoever writes much stays in the table, whatever else writes.
func TestWritersCrowd(t *testing.T) {
	var w writers
	for i := range 100_000 {
		w.add(Writer{RIP: uint64(i) * 64})
		if i%10 == 0 {
			w.add(Writer{RIP: 7})
		}
	}
	top, rest := w.top(1, 110_000)
	assert.Equal(t, []Tally{{Writer{RIP: 7}, 10_000}}, top)
	assert.EqualValues(t, 100_000, rest)
}
