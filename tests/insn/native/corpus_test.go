package native

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// corpusFiles are recordings by the vendor of the processor.
var corpusFiles = map[string]string{"AuthenticAMD": "int.zst", "GenuineIntel": "int-intel.zst"}

// TestCorpus replays the results of real processors, whatever the host is.
func TestCorpus(t *testing.T) {
	for vendor, file := range corpusFiles {
		t.Run(vendor, func(t *testing.T) { testCorpus(t, vendor, file) })
	}
}

func testCorpus(t *testing.T, vendor, file string) {
	b, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	m := needModel(t, vendor, "")
	n := 0
	require.NoError(t, ReadCorpus(b, func(c *Case, want *Result) error {
		n++
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
	assert.Greater(t, n, 5000)
}

func TestCorpusIsChecked(t *testing.T) {
	c, o := &Case{Code: []byte{0x90}}, &Result{Diff: []Window{{1, 2}}}
	b, err := WriteCorpus([]*Case{c}, []*Result{o})
	require.NoError(t, err)
	require.NoError(t, ReadCorpus(b, func(d *Case, p *Result) error {
		assert.Equal(t, c.Code, d.Code)
		assert.Equal(t, o.Diff, p.Diff)
		return nil
	}))
	assert.Error(t, ReadCorpus(b[:len(b)-1], func(*Case, *Result) error { return nil }))
	r := reader{b: []byte{0xff}}
	r.next()
	assert.True(t, r.bad)
}

// TestRecordCorpus writes the corpus anew when INSN_RECORD says so: some cases
// of every row and mode.
func TestRecordCorpus(t *testing.T) {
	if os.Getenv("INSN_RECORD") != "1" {
		t.Skip("INSN_RECORD=1 records the corpus")
	}
	x, m := needExecutor(t), needMachine(t)
	g := NewGen(seed(t), intRows(m))
	var cases []*Case
	for _, md := range []isa.Mode{isa.Mode64, isa.Mode32, isa.Mode16} {
		each := map[uint16]int{}
		for n := 0; n < 200000; n++ {
			c, in := g.Next(md)
			if each[in.Row] < 10 && in.Row != 0 && len(c.Win) <= 5 && Usable(c, in) {
				each[in.Row]++
				cases = append(cases, c)
			}
		}
	}
	want, err := x.Run(cases)
	require.NoError(t, err)
	k := 0
	for i := range cases {
		if want[i].Trap != 1 && want[i].Trap != -2 && len(want[i].Diff) < 40 {
			cases[k], want[k] = cases[i], want[i]
			k++
		}
	}
	b, err := WriteCorpus(cases[:k], want[:k])
	require.NoError(t, err)
	t.Logf("%d cases, %d bytes", k, len(b))
	require.NoError(t, os.MkdirAll("testdata", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("testdata", corpusFiles[hostVendor]), b, 0o644))
}
