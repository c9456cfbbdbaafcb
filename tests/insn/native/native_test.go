package native

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// needExecutor builds and starts the executor, or skips the test on hosts that
// cannot run it. In continuous integration a missing compiler is a failure.
func needExecutor(t testing.TB) *Executor {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("the processor underneath is none of ours; the corpus is replayed instead")
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("gcc is missing")
		}
		t.Skip("gcc is missing")
	}
	bin, err := Build(t.TempDir())
	require.NoError(t, err)
	x, err := Start(bin)
	require.NoError(t, err)
	t.Cleanup(func() { x.Close() })
	return x
}

// needNative makes an executor and a machine of the vendor of the processor underneath,
// if there is a model of that, for code of a mode. Kernels that run in user mode under
// another one have 64-bit code only: of the other modes there are recordings.
func needNative(t testing.TB, md isa.Mode) (*Executor, *Machine) {
	x := needExecutor(t)
	if !x.ldt && md != isa.Mode64 {
		t.Skip("this kernel lets programs have no segments: the corpus is replayed instead")
	}
	vendor := hostVendor
	if models[vendor] == "" {
		vendor = "AuthenticAMD"
	}
	more := ""
	if vendor == "GenuineIntel" && hostFeatures["57 bits virtual"] {
		more = " la57" // FIP is as wide as addresses could be
	}
	m := needModel(t, vendor, more)
	if !x.ldt {
		m.flatten()
	}
	return x, m
}

func needModel(t testing.TB, vendor, more string) *Machine {
	m, err := NewMachine(vendor, more)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

const vecAttrs = isa.AttrX87 | isa.AttrMMX | isa.AttrSSE | isa.AttrAVX

// intRows are the rows of the integer instruction set.
func intRows(m *Machine) (rows []uint16) {
	for i := 1; i < len(isa.Rows); i++ {
		r := &isa.Rows[i]
		if r.Attrs&vecAttrs == 0 && excluded[r.Op] == "" && m.has(r) && hostHas(r) {
			rows = append(rows, uint16(i))
		}
	}
	return rows
}

// hostHas tells that the processor underneath has a row's feature.
func hostHas(r *isa.Row) bool {
	name := isa.Features[r.CPUID]
	if name == "lzcnt" {
		name = "abm"
	}
	return r.CPUID == 0 || hostFeatures[name]
}

// hostVendor and hostFeatures are those of the first processor underneath.
var hostVendor, hostFeatures = func() (vendor string, on map[string]bool) {
	on = map[string]bool{}
	b, _ := os.ReadFile("/proc/cpuinfo")
	first, _, _ := strings.Cut(string(b), "\n\n")
	for _, l := range strings.Split(first, "\n") {
		switch k, v, _ := strings.Cut(l, ":"); strings.TrimSpace(k) {
		case "vendor_id":
			vendor = strings.TrimSpace(v)
		case "address sizes":
			_, width, _ := strings.Cut(v, ", ")
			on[width] = true
		case "flags":
			for _, f := range strings.Fields(v) {
				on[f] = true
			}
		}
	}
	return vendor, on
}()

func count(t testing.TB, few int) int {
	if s := os.Getenv("INSN_COUNT"); s != "" {
		n, err := strconv.Atoi(s)
		require.NoError(t, err)
		return n
	}
	if os.Getenv("GODWIT_FULL") == "1" {
		return 1_000_000
	}
	return few
}

func seed(t testing.TB) uint64 {
	if s := os.Getenv("INSN_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 0, 64)
		require.NoError(t, err)
		return n
	}
	return 1
}

// tally counts differences by mnemonic and kind.
type tally struct {
	n, bad map[string]int
	shown  map[string]int
}

func (y *tally) add(c *Case, in *isa.Inst, engine, d string) {
	name := "(bad)"
	if in.Row != 0 {
		name = in.Op.String()
	}
	y.n[name]++
	if d == "" {
		return
	}
	kind := engine
	for _, p := range strings.Split(d, "; ") {
		k, _, _ := strings.Cut(p, ":")
		kind += " " + k
	}
	key := name + " " + kind
	y.bad[key]++
	if y.shown[key]++; y.shown[key] <= 2 {
		fmt.Fprintf(os.Stderr, "## %s: % x  %s  [%s]\n   %s\n   in %s\n", engine, c.Code, in.Text(c.RIP), isa.Rows[in.Row].Enc, d, c)
	}
}

func (y *tally) report() (total, bad int) {
	var keys []string
	for k, n := range y.bad {
		keys = append(keys, k)
		bad += n
	}
	sort.Slice(keys, func(i, j int) bool { return y.bad[keys[i]] > y.bad[keys[j]] })
	for _, k := range keys {
		fmt.Fprintf(os.Stderr, "%8d %s\n", y.bad[k], k)
	}
	for _, n := range y.n {
		total += n
	}
	return total, bad
}

func testMode(t *testing.T, md isa.Mode, few int) {
	x, m := needNative(t, md)
	compareNative(t, x, m, NewGen(seed(t), intRows(m)), md, few, func(*Gen, *Case, *isa.Inst) bool { return true })
}

// compareNative runs cases natively and on both engines. use may change a case,
// or refuse it.
func compareNative(t *testing.T, x *Executor, m *Machine, g *Gen, md isa.Mode, few int, use func(*Gen, *Case, *isa.Inst) bool) {
	g.flat = m.flat
	compareCases(t, x, m, few, func() (*Case, *isa.Inst) {
		for {
			if c, in := g.Next(md); Usable(c, in) && use(g, c, in) {
				return c, in
			}
		}
	})
}

// retries is how often a case that differs is executed once more. A difference of
// the processors differs each time; what the kernel's context switches do does
// not: on AMD's processors x87's pointers are lost where the state is saved and
// restored between the signal frame and the case.
const retries = 8

// foreign tells of what comes of a case by the doing of others than the processor: of
// KVM, or of the other kernel that one in user mode has under it.
func (v *Machine) foreign(c *Case, in *isa.Inst) bool {
	if v.flat {
		return sext48(c.R[4]) != c.R[4] || in.Op == isa.INT
	}
	return in.Op == isa.SYSEXIT && v.amd
}

// narrow makes the pointers as wide as addresses are: another kernel may have wider ones.
func (v *Vec) narrow() { v.FIP, v.FDP = sext48(v.FIP), sext48(v.FDP) }

func sext48(v uint64) uint64 { return uint64(int64(v<<16) >> 16) }

// differences compares got with want and, where they differ, with what the case
// does when it is executed again.
func differences(x *Executor, m *Machine, c *Case, in *isa.Inst, want, got *Result) (string, error) {
	for n := 0; ; n++ {
		if m.flat && want.Vec != nil {
			want.Vec.narrow()
			got.Vec.narrow()
		}
		forgive(c, in, m.amd, want, got)
		d := Compare(c, want, got)
		if d == "" || n == retries {
			return d, nil
		}
		again, err := x.Run([]*Case{c})
		if err != nil {
			return "", err
		}
		want = again[0]
	}
}

// TestDifferencesStay: what really differs does so however often it is executed.
func TestDifferencesStay(t *testing.T) {
	x, m := needNative(t, isa.Mode64)
	c := NewGen(1, nil).state(isa.Mode64)
	c.Code = []byte{0x90}
	var in isa.Inst
	require.Equal(t, isa.OK, m.decode(c.Code, isa.Mode64, &in))
	want, err := x.Run([]*Case{c})
	require.NoError(t, err)
	got, _, err := m.Reference(c)
	require.NoError(t, err)
	for by := uint64(0); by < 2; by++ {
		got.R[3] += by
		d, err := differences(x, m, c, &in, want[0], got)
		require.NoError(t, err)
		require.Equal(t, by != 0, d != "", d)
	}
}

// compareCases compares cases that next makes.
func compareCases(t *testing.T, x *Executor, m *Machine, few int, next func() (*Case, *isa.Inst)) {
	y := &tally{map[string]int{}, map[string]int{}, map[string]int{}}
	const batch = 2000
	for n := count(t, few); n > 0; n -= batch {
		var cases []*Case
		var insts []*isa.Inst
		for len(cases) < min(n, batch) {
			c, in := next()
			if m.foreign(c, in) {
				continue
			}
			cases, insts = append(cases, c), append(insts, in)
		}
		want, err := x.Run(cases)
		require.NoError(t, err)
		for i, c := range cases {
			if want[i].Trap == 1 || want[i].Trap == -2 {
				continue // single-stepping was switched on, or an endless loop
			}
			if insts[i].Row == 0 && (want[i].Trap != 6 || want[i].RIP != c.RIP) && bytes.ContainsAny(c.Code[:4], "\xc4\xc5\x62") {
				continue // newer vector instructions of the processor underneath
			}
			if m.amd && insts[i].Op == isa.LDMXCSR && want[i].Vec != nil && want[i].Vec.MXCSR&(1<<17) != 0 {
				continue // misaligned operands allowed, which the models do not have
			}
			got, steps, err := m.Reference(c)
			require.NoError(t, err)
			if got.Trap == -2 {
				continue // a long loop
			}
			if m.amd && eitherFault(insts[i], want[i], got) {
				continue
			}
			d, err := differences(x, m, c, insts[i], want[i], got)
			require.NoError(t, err)
			y.add(c, insts[i], "reference", d)
			got2, err := m.Blocks(c, steps)
			if err != nil {
				y.add(c, insts[i], "blocks", err.Error())
				continue
			}
			forgive(c, insts[i], m.amd, got, got2)
			y.add(c, insts[i], "blocks", Compare(c, got, got2))
		}
	}
	total, bad := y.report()
	t.Logf("%d cases on each engine, %d differences", total/2, bad)
	require.Zero(t, bad)
}

func TestInt64(t *testing.T) { testMode(t, isa.Mode64, 10000) }
func TestInt32(t *testing.T) { testMode(t, isa.Mode32, 10000) }
func TestInt16(t *testing.T) { testMode(t, isa.Mode16, 10000) }
