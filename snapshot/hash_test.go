package snapshot_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/zeebo/xxh3"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

const hashDoc = "../docs/format/hash.md"

// docValues reads the lines "name = hex" of a page's fenced blocks.
func docValues(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	values := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^(\w[\w ]*?) += ([0-9a-f]+)$`).FindAllStringSubmatch(string(b), -1) {
		values[m[1]] = m[2]
	}
	return values
}

// example is the machine of the worked example.
func example(t testing.TB) (*memtest.Memory, []snapshot.Section) {
	m := memtest.New(513)
	ramp := make([]byte, snapshot.PageSize)
	for i := range ramp {
		ramp[i] = byte(i)
	}
	require.NoError(t, m.Restore(0, ramp))
	require.NoError(t, m.Restore(1, make([]byte, snapshot.PageSize)))
	require.NoError(t, m.Restore(512, []byte(strings.Repeat("Z", snapshot.PageSize))))
	return m, []snapshot.Section{
		{Name: "uart", Instance: "uart0", Version: 2, State: true, Data: []byte{0xa0}},
		{Name: "config", Version: 1, Required: true, Data: []byte{0xa1, 0x01, 0x02}},
		{Name: "clock", Version: 1, State: true, Data: []byte{0xa1, 0x01, 0x18, 0x2a}},
	}
}

// TestHashDocument follows docs/format/hash.md by the letter, with nothing of
// this package, and compares every value it prints.
func TestHashDocument(t *testing.T) {
	want := docValues(t, hashDoc)
	check := func(name string, b []byte) {
		t.Helper()
		assert.Equal(t, want[name], hex.EncodeToString(b), name)
	}
	m, secs := example(t)
	leaf := func(p uint32) []byte {
		var b [4096]byte
		m.Read(p, &b)
		h := xxh3.Hash128(b[:])
		return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, h.Hi), h.Lo)
	}
	group := func(from, to uint32) []byte {
		s := []byte("godwit-leaves-1\x00")
		for p := from; p < to; p++ {
			s = append(s, leaf(p)...)
		}
		sum := sha256.Sum256(s)
		return sum[:]
	}
	h := xxh3.Hash128(nil)
	check("nothing", binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, h.Hi), h.Lo))
	check("zero leaf", leaf(1))
	check("leaf 0", leaf(0))
	check("leaf 512", leaf(512))
	check("zero group", group512(leaf(1)))
	check("group 0", group(0, 512))
	check("group 1", group(512, 513))

	s := []byte("godwit-state-1\x00\x00")
	s = append(s, "\x01\x02\x00\x00\x00\x00\x00\x00"...)
	s = append(append(s, group(0, 512)...), group(512, 513)...)
	s = append(s, 2, 0, 0, 0)
	for _, i := range []int{2, 0} { // clock, uart
		sec := &secs[i]
		s = append(append(s, byte(len(sec.Name)), 0), sec.Name...)
		s = append(append(s, byte(len(sec.Instance)), 0), sec.Instance...)
		s = append(s, byte(sec.Version), 0)
		s = append(s, byte(len(sec.Data)), 0, 0, 0, 0, 0, 0, 0)
		sum := sha256.Sum256(sec.Data)
		s = append(s, sum[:]...)
	}
	check("string", s)
	root := sha256.Sum256(s)
	check("root", root[:])
	assert.Equal(t, root, m.Root(secs), "the package agrees")
	zero := snapshot.ZeroLeaf()
	check("zero leaf", zero[:])
	assert.Len(t, want, 9, "every value is checked")
}

func group512(leaf []byte) []byte {
	sum := sha256.Sum256(append([]byte("godwit-leaves-1\x00"), slices.Repeat(leaf, 512)...))
	return sum[:]
}

func TestRootSeesEveryBitOfStateAndNothingElse(t *testing.T) {
	m, secs := example(t)
	base := m.Root(secs)
	for _, tt := range []struct {
		name   string
		change func(m *memtest.Memory, secs []snapshot.Section) []snapshot.Section
		same   bool
	}{
		{"order", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { slices.Reverse(s); return s }, true},
		{"configuration", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { s[1].Data = nil; return s }, true},
		{"written zero page", func(m *memtest.Memory, s []snapshot.Section) []snapshot.Section { delete(m.Data, 1); return s }, true},
		{"page", func(m *memtest.Memory, s []snapshot.Section) []snapshot.Section { m.Data[512][77] ^= 4; return s }, false},
		{"moved page", func(m *memtest.Memory, s []snapshot.Section) []snapshot.Section {
			m.Data[2], m.Data[0] = m.Data[0], nil
			return s
		}, false},
		{"more memory", func(m *memtest.Memory, s []snapshot.Section) []snapshot.Section { m.N++; return s }, false},
		{"data", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { s[0].Data[0] ^= 1; return s }, false},
		{"version", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { s[0].Version++; return s }, false},
		{"name", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { s[0].Name = "uarr"; return s }, false},
		{"instance", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { s[0].Instance = "uart1"; return s }, false},
		{"border of name and instance", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section {
			s[0].Name, s[0].Instance = "uartu", "art0"
			return s
		}, false},
		{"section gone", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { return s[1:] }, false},
		{"not state", func(_ *memtest.Memory, s []snapshot.Section) []snapshot.Section { s[0].State = false; return s }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, secs := example(t)
			secs = tt.change(m, secs)
			assert.Equal(t, tt.same, m.Root(secs) == base)
		})
	}
}

func TestRootOfKeptGroups(t *testing.T) {
	m := memtest.New(1700).Fill(3, 4)
	secs := memtest.Sections()
	got, err := snapshot.RootOfGroups(m.N, func(g uint32) [32]byte { return snapshot.Group(g, m.N, m.Leaf) }, secs)
	require.NoError(t, err)
	assert.Equal(t, m.Root(secs), got)
	_, err = snapshot.Root(0, nil, []snapshot.Section{{Name: "a"}, {Name: "a"}})
	require.ErrorContains(t, err, "section a occurs twice")
}

func BenchmarkRoot(b *testing.B) {
	m := memtest.New(1<<18).Fill(1, 100) // 1 GiB, leaves known
	leaves := make([][16]byte, m.N)
	for p := range m.N {
		leaves[p] = m.Leaf(p)
	}
	for b.Loop() {
		if _, err := snapshot.Root(m.N, func(p uint32) [16]byte { return leaves[p] }, nil); err != nil {
			b.Fatal(err)
		}
	}
}
