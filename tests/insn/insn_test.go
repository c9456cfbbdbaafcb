package insn

import (
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// Every recorded instruction does on our CPU what it did on a real one, by
// either engine.
func TestRecorded(t *testing.T) {
	path := "testdata/user.zst"
	if p := os.Getenv("INSN_CORPUS"); p != "" {
		path = p
	}
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	vs, err := ReadCorpus(f)
	require.NoError(t, err)
	require.Greater(t, len(vs), 30000)
	for _, blocks := range []bool{false, true} {
		m, done, err := NewMachine()
		require.NoError(t, err)
		defer done()
		m.Blocks = blocks
		play(t, m, vs)
		assert.Equal(t, blocks, m.c.Stats().Blocks > uint64(len(vs)/2), "blocks run")
	}
}

// play compares our CPU with recorded vectors, telling of at most two of each
// instruction.
func play(t *testing.T, m *Machine, vs []Vector) {
	wrong := map[string]int{}
	for i := range vs {
		v := &vs[i]
		got, err := m.Play(v)
		require.NoError(t, err)
		if d := v.Difference(&got); d != "" {
			name := mnemonic(v.Code)
			if wrong[name]++; wrong[name] <= 2 {
				t.Errorf("blocks %v, vector %d, % x, seed %d: %s: %s", m.Blocks, i, v.Code, v.Seed, name, d)
			}
		}
	}
	assert.Empty(t, wrong)
}

// Recordings keep only the seeds of states.
func TestState(t *testing.T) {
	h := fnv.New64a()
	for seed := uint64(0); seed < 1000; seed++ {
		s, mem := stateOf(seed)
		fmt.Fprintf(h, "%x %x", s, mem)
	}
	assert.Equal(t, "a95ff3255a2af60", fmt.Sprintf("%x", h.Sum64()))
}

// A wrong effect is told, whatever it is; what is undefined is not.
func TestDifference(t *testing.T) {
	v := Vector{Code: []byte{0x48, 0x01, 0xc3}, Seed: 1} // add rbx, rax
	v.Out = Effect{Trap: -1, RIP: 3, Flags: 1}
	for _, c := range []struct {
		name   string
		change func(*Effect)
	}{
		{"exception", func(e *Effect) { e.Trap = 13 }},
		{"rip", func(e *Effect) { e.RIP++ }},
		{"error code", func(e *Effect) { e.Err++ }},
		{"cr2", func(e *Effect) { e.CR2++ }},
		{"registers", func(e *Effect) { e.R = []RegValue{{N: 3, V: 1}} }},
		{"flags", func(e *Effect) { e.Flags ^= af }},
		{"memory", func(e *Effect) { e.Mem = []MemValue{{Addr: DataBase}} }},
		{"vector lanes", func(e *Effect) { e.V = []LaneValue{{}} }},
		{"st", func(e *Effect) { e.ST = []STValue{{}} }},
		{"mxcsr", func(e *Effect) { e.MXCSR = 1 }},
		{"fsw", func(e *Effect) { e.FSW = 1 }},
		{"ftw", func(e *Effect) { e.FTW = 1 }},
	} {
		got := v.Out
		c.change(&got)
		assert.Contains(t, v.Difference(&got), c.name+" ")
	}
	v.Code = []byte{0x48, 0x21, 0xc3} // and leaves AF undefined
	got := v.Out
	assert.Empty(t, v.Difference(&got))
	got.Flags ^= af
	assert.Empty(t, v.Difference(&got))
	got.Flags ^= cf
	assert.NotEmpty(t, v.Difference(&got))
}

// Every encoding that a process can execute gets vectors.
func TestGenerate(t *testing.T) {
	vs := Generate(3, 42)
	assert.Equal(t, vs, Generate(3, 42), "the same seed gives the same vectors")
	rows := map[uint16]bool{}
	for i := range vs {
		var in isa.Inst
		require.Equal(t, isa.OK, isa.Decode(vs[i].Code, isa.Mode64, &in), "% x", vs[i].Code)
		rows[in.Row] = true
	}
	for row := 1; row < len(isa.Rows); row++ {
		if r := &isa.Rows[row]; wanted(r) && !rows[uint16(row)] {
			short := strings.HasPrefix(r.Enc, "4") || strings.HasPrefix(r.Enc, "82") // INC, DEC and an alias
			assert.True(t, short || slices.Contains(no64, r.Text), "no vector for %s: %s", r.Text, r.Enc)
		}
	}
}

// no64 have rows that 64-bit mode does not have.
var no64 = strings.Fields("daa das aaa aas aam aad salc pusha popa bound arpl sahf lahf")

func mnemonic(code []byte) string {
	var in isa.Inst
	if isa.Decode(code, isa.Mode64, &in) != isa.OK {
		return "bad"
	}
	return in.R().Text
}
