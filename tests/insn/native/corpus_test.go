package native

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu"
	"godwit/cpu/isa"
)

// corpora are the recordings: of integer instructions, and of vector and x87 ones.
var corpora = []struct {
	vendor, file string
	vec          bool
	least, modes int // cases in it, and modes of code: what hosts without segments rely on
}{
	{"AuthenticAMD", "int.zst", false, 5000, 3},
	{"AuthenticAMD", "vec.zst", true, 2000, 1},
	{"GenuineIntel", "int-intel.zst", false, 5000, 3},
	{"GenuineIntel", "vec-intel.zst", true, 5000, 3},
}

// TestCorpus replays the results of real processors, whatever the host is.
func TestCorpus(t *testing.T) {
	for _, k := range corpora {
		t.Run(k.file, func(t *testing.T) { testCorpus(t, k.vendor, k.file, k.vec, k.least, k.modes) })
	}
}

func testCorpus(t *testing.T, vendor, file string, vec bool, least, modes int) {
	b, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	m := needModel(t, vendor, "")
	n, seen := 0, map[isa.Mode]bool{}
	require.NoError(t, ReadCorpus(b, vec, func(c *Case, want *Result) error {
		var in isa.Inst
		if m.decode(c.Code, mode(c.Sel[isa.CS]), &in) == isa.OK && in.Op == isa.SYSEXIT && m.amd {
			return nil // recorded under KVM, which emulates it
		}
		n++
		seen[mode(c.Sel[isa.CS])] = true
		got, steps, err := m.Reference(c)
		if err != nil {
			return err
		}
		assert.Empty(t, Compare(c, want, got), "reference: % x\n%s", c.Code, c)
		again, err := m.Blocks(c, steps)
		if err != nil {
			return err
		}
		assert.Empty(t, Compare(c, got, again), "blocks: % x\n%s", c.Code, c)
		if t.Failed() {
			return fmt.Errorf("case %d: % x", n, c.Code)
		}
		return nil
	}))
	assert.Greater(t, n, least)
	assert.Len(t, seen, modes)
}

func TestCorpusIsChecked(t *testing.T) {
	for _, vec := range []bool{false, true} {
		c, o := &Case{Code: []byte{0x90}}, &Result{Diff: []Window{{1, 2}}}
		if vec {
			c.Vec, o.Vec = &Vec{FCW: 5, FTW: 1}, &Vec{FCW: 6, FDP: 1}
			c.Vec.X[3][1], o.Vec.ST[7].SE = 7, 8
		}
		b, err := WriteCorpus([]*Case{c}, []*Result{o})
		require.NoError(t, err)
		require.NoError(t, ReadCorpus(b, vec, func(d *Case, p *Result) error {
			assert.Equal(t, c.Code, d.Code)
			assert.Equal(t, o.Diff, p.Diff)
			assert.Equal(t, c.Vec, d.Vec)
			assert.Equal(t, o.Vec, p.Vec)
			return nil
		}))
		assert.Error(t, ReadCorpus(b[:len(b)-1], vec, func(*Case, *Result) error { return nil }))
	}
	r := reader{b: []byte{0xff}}
	r.next()
	assert.True(t, r.bad)
	r.vec()
	assert.True(t, r.bad)
}

// TestRecordCorpus writes the corpora of the processor underneath anew when
// INSN_RECORD says so: some cases of every row and mode.
func TestRecordCorpus(t *testing.T) {
	if os.Getenv("INSN_RECORD") != "1" {
		t.Skip("INSN_RECORD=1 records the corpus")
	}
	x, m := needNative(t, isa.Mode64)
	for _, k := range corpora {
		if k.vendor == hostVendor && (!m.flat || k.file == "vec.zst") {
			record(t, x, m, k.file, k.vec)
		}
	}
}

func record(t *testing.T, x *Executor, m *Machine, file string, vec bool) {
	rows, most := intRows(m), 10
	if vec {
		rows, most = rowsOf(m, func(r *isa.Row) bool {
			return r.Attrs&(vecAttrs&^isa.AttrAVX) != 0 && r.Attrs&isa.AttrAVX == 0 && excluded[r.Op] == "" && !transcendental[r.Op] && !envOps[r.Op]
		}), 5
	}
	g := NewGen(seed(t), rows)
	var cases []*Case
	g.flat = m.flat
	for _, md := range []isa.Mode{isa.Mode64, isa.Mode32, isa.Mode16} {
		if m.flat && md != isa.Mode64 {
			continue
		}
		each := map[uint16]int{}
		for n := 0; n < 200000; n++ {
			c, in := g.Next(md)
			if each[in.Row] < most && in.Row != 0 && len(c.Win) <= 5 && Usable(c, in) && !m.foreign(c, in) {
				each[in.Row]++
				if vec {
					c.Vec = g.sparse(c, in)
				}
				cases = append(cases, c)
			}
		}
	}
	want, err := x.Run(cases)
	require.NoError(t, err)
	again, err := x.Run(cases) // what differs was the kernel's doing, see retries
	require.NoError(t, err)
	k := 0
	for i := range cases {
		if Compare(cases[i], want[i], again[i]) != "" {
			continue
		}
		if m.flat && vec {
			want[i].Vec.narrow()
		}
		if want[i].Trap != 1 && want[i].Trap != -2 && len(want[i].Diff) < 40 {
			cases[k], want[k] = cases[i], want[i]
			k++
		}
	}
	b, err := WriteCorpus(cases[:k], want[:k])
	require.NoError(t, err)
	t.Logf("%s: %d cases, %d bytes", file, k, len(b))
	require.NoError(t, os.MkdirAll("testdata", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("testdata", file), b, 0o644))
}

// sparse is state of which only what the instruction names is random: it
// compresses.
func (g *Gen) sparse(c *Case, in *isa.Inst) *Vec {
	v := g.x87()
	if in.R().Attrs&isa.AttrX87 == 0 {
		v = g.vec()
	}
	g.number(c, in)
	for i := range v.X {
		if i != int(in.Reg&15) && i != int(in.RM&15) && i != 0 {
			v.X[i] = [4]uint64{uint64(i), uint64(i)}
		}
	}
	for i := range v.ST {
		if r := in.R(); i != int(in.RM&7) && i != int(in.Reg&7) && i > 1 && r.Attrs&(isa.AttrX87|isa.AttrMMX) != 0 || r.Attrs&isa.AttrSSE != 0 {
			v.ST[i] = cpu.F80{Mant: 1 << 63, SE: 0x3fff}
		}
	}
	return v
}
