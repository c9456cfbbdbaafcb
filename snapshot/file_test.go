package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

var ctx = context.Background()

func write(t testing.TB, m *memtest.Memory, secs []snapshot.Section, o snapshot.Options) ([]byte, snapshot.Stats) {
	t.Helper()
	var b bytes.Buffer
	meta := snapshot.Meta{UUID: snapshot.UUID{1, 2, 3}, Count: 100000, Created: 1e18, CPUModel: "godwit-1"}
	st, err := snapshot.WriteTo(ctx, &b, meta, secs, m, o)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), st.Bytes)
	return b.Bytes(), st
}

func open(b []byte) (*snapshot.File, error) {
	return snapshot.OpenReader(bytes.NewReader(b), int64(len(b)), nil)
}

func TestRoundTrip(t *testing.T) {
	for _, pages := range []uint32{0, 1, 63, 511, 512, 513, 2000, 5121} {
		for _, c := range []snapshot.Codec{snapshot.None, snapshot.S2, snapshot.Zstd} {
			for _, chunk := range []int{1, 16, 64} {
				t.Run(fmt.Sprintf("%d %s %d", pages, c, chunk), func(t *testing.T) {
					roundTrip(t, memtest.New(pages).Fill(uint64(pages), 3), snapshot.Options{Codec: c, ChunkPages: chunk})
				})
			}
		}
	}
}

func roundTrip(t *testing.T, m *memtest.Memory, o snapshot.Options) {
	secs := memtest.Sections()
	b, st := write(t, m, secs, o)
	assert.Equal(t, m.Root(secs), st.Root)
	assert.Equal(t, m.N, st.Stored+st.Zero)

	f, err := open(b)
	require.NoError(t, err)
	require.NoError(t, f.Verify(ctx))
	assert.Equal(t, st.Root, f.Root())
	assert.Equal(t, "godwit-1", f.Meta().CPUModel)
	assert.EqualValues(t, 100000, f.Meta().Count)
	want, err := snapshot.Sorted(secs)
	require.NoError(t, err)
	have, err := f.Sections()
	require.NoError(t, err)
	assert.Equal(t, want, have)

	got := memtest.New(m.N)
	require.NoError(t, f.LoadAll(ctx, got))
	assert.Len(t, got.Data, int(st.Stored), "zero pages are not restored")
	assert.Equal(t, st.Root, got.Root(secs))
	comparePages(t, m, f)
}

// comparePages reads every page out of order and compares it with m's.
func comparePages(t *testing.T, m *memtest.Memory, f *snapshot.File) {
	var have, want [snapshot.PageSize]byte
	for _, p := range rand.New(rand.NewPCG(1, 2)).Perm(int(m.N)) {
		if p%7 != 0 {
			continue
		}
		require.NoError(t, f.ReadPage(uint32(p), &have))
		m.Read(uint32(p), &want)
		require.Equal(t, want, have, "page %d", p)
		leaf, err := f.Leaf(uint32(p))
		require.NoError(t, err)
		require.Equal(t, m.Leaf(uint32(p)), leaf)
	}
	require.ErrorContains(t, f.ReadPage(m.N, &have), fmt.Sprintf("page %d of %d", m.N, m.N))
}

func TestCodecsPay(t *testing.T) {
	m := memtest.New(64)
	for p := range m.N {
		require.NoError(t, m.Restore(p, bytes.Repeat([]byte{byte(p), 1, 2, 3}, 1024)))
	}
	for _, c := range []snapshot.Codec{snapshot.S2, snapshot.Zstd} {
		_, st := write(t, m, nil, snapshot.Options{Codec: c})
		assert.Less(t, st.Packed*20, st.RawBytes, c)
	}
	noise := memtest.New(64)
	r := rand.New(rand.NewPCG(3, 4))
	for p := range noise.N {
		var b [snapshot.PageSize]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		require.NoError(t, noise.Restore(p, b[:]))
	}
	_, st := write(t, noise, nil, snapshot.Options{Codec: snapshot.Zstd})
	assert.Equal(t, st.RawBytes, st.Packed, "incompressible chunks stay raw")
}

// TestDamage flips single bits and cuts the file: each is refused by Open or
// named by Verify.
func TestDamage(t *testing.T) {
	m := memtest.New(1100).Fill(5, 20)
	for _, c := range []snapshot.Codec{snapshot.None, snapshot.S2, snapshot.Zstd} {
		b, _ := write(t, m, memtest.Sections(), snapshot.Options{Codec: c})
		r := rand.New(rand.NewPCG(uint64(c), 9))
		for range 2600 {
			flip(t, b, r.IntN(len(b)), r.IntN(8))
		}
		for i := range 300 { // the ends, where the structure is densest
			flip(t, b, i, r.IntN(8))
			flip(t, b, len(b)-1-i, r.IntN(8))
		}
		for range 400 {
			n := r.IntN(len(b))
			_, err := open(b[:n])
			require.Error(t, err, "first %d of %d bytes", n, len(b))
		}
	}
}

func flip(t *testing.T, b []byte, pos, bit int) {
	t.Helper()
	b[pos] ^= 1 << bit
	defer func() { b[pos] ^= 1 << bit }()
	f, err := open(b)
	if err == nil {
		err = f.Verify(ctx)
	}
	require.Error(t, err, "bit %d of byte %d", bit, pos)
	var a *snapshot.Altered
	var n *snapshot.NotGodwit
	var tr *snapshot.Truncated
	require.True(t, errors.As(err, &a) || errors.As(err, &n) || errors.As(err, &tr), "bit %d of byte %d: %v", bit, pos, err)
}

func TestEveryTruncationOfASmallFile(t *testing.T) {
	b, _ := write(t, memtest.New(3).Fill(1, 1), memtest.Sections(), snapshot.Options{Codec: snapshot.S2})
	for n := range b {
		_, err := open(b[:n])
		var tr *snapshot.Truncated
		var not *snapshot.NotGodwit
		if n == 0 {
			require.ErrorAs(t, err, &not)
		} else {
			require.ErrorAs(t, err, &tr, "first %d of %d bytes", n, len(b))
		}
	}
}

func TestNamesWhatIsWrong(t *testing.T) {
	m := memtest.New(600)
	for _, p := range []uint32{7, 520} {
		require.NoError(t, m.Restore(p, bytes.Repeat([]byte{byte(p), 3, 9, 17}, 1024)))
	}
	good, _ := write(t, m, memtest.Sections(), snapshot.Options{})
	find := func(pattern []byte) int {
		i := bytes.Index(good, pattern)
		require.Positive(t, i)
		return i
	}
	for _, tt := range []struct {
		name string
		pos  int
		want string
	}{
		{"magic", 2, "not a godwit snapshot"},
		{"superblock", 50, "superblock does not match"},
		{"reserved part of the superblock", 2000, "superblock does not match"},
		{"section", find([]byte("\xa2\x01\x05\x02\x60")), "section uart/uart0 does not match"},
		{"page", find([]byte{7, 3, 9, 17}), "page 7: the chunk it lies in"},
		{"page of another group", find([]byte{8, 3, 9, 17}), "page 520: the chunk it lies in"},
		{"index", len(good) - 100, "index does not match"},
		{"index place", len(good) - 56, "damaged: trailer"},
		{"trailer's sum", len(good) - 20, "index does not match"},
		{"trailer's magic", len(good) - 2, "incomplete: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(good)
			b[tt.pos] ^= 0x10
			f, err := open(b)
			if err == nil {
				err = f.LoadAll(ctx, memtest.New(600))
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestVerifyListsAll(t *testing.T) {
	m := memtest.New(3000)
	for p := uint32(0); p < 3000; p += 100 {
		require.NoError(t, m.Restore(p, bytes.Repeat([]byte{byte(p), 3, 9, 17}, 1024)))
	}
	b, _ := write(t, m, nil, snapshot.Options{ChunkPages: 1})
	for p := uint32(0); p < 3000; p += 1000 {
		b[bytes.Index(b, []byte{byte(p), 3, 9, 17})+5] ^= 1
	}
	f, err := open(b)
	require.NoError(t, err)
	err = f.Verify(ctx)
	for _, want := range []string{"page 0:", "page 1000:", "page 2000:"} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "page 100:")
}

func TestForeignFiles(t *testing.T) {
	for head, want := range map[string]string{
		"":             "not a godwit snapshot",
		"hello":        "not a godwit snapshot",
		"\x7fELF\x02":  "an ELF file",
		"QFI\xfb":      "a qcow2 disk image",
		"QEVM\x00":     "a QEMU migration stream",
		"GODWITmg\x01": "a godwit migration stream",
	} {
		_, err := open(append([]byte(head), make([]byte, 9000*min(1, len(head)))...))
		var e *snapshot.NotGodwit
		require.ErrorAs(t, err, &e)
		assert.Contains(t, err.Error(), want)
	}
}

// faulty fails one step of a save.
type faulty struct {
	snapshot.Disk
	at string
}

var errInjected = errors.New("no space left on device")

func (l faulty) Create(path string) (snapshot.WriteFile, error) {
	if l.at == "create" {
		return nil, errInjected
	}
	f, err := l.Disk.Create(path)
	return faultyFile{f, l.at}, err
}

func (l faulty) Rename(from, to string) error {
	if l.at == "rename" {
		return errInjected
	}
	return l.Disk.Rename(from, to)
}

func (l faulty) SyncDir(dir string) error {
	if l.at == "syncdir" {
		return errInjected
	}
	return l.Disk.SyncDir(dir)
}

type faultyFile struct {
	snapshot.WriteFile
	at string
}

func (f faultyFile) Write(b []byte) (int, error) {
	if f.at == "write" {
		n, _ := f.WriteFile.Write(b[:len(b)/2])
		return n, errInjected
	}
	return f.WriteFile.Write(b)
}

func (f faultyFile) Sync() error {
	if f.at == "sync" {
		return errInjected
	}
	return f.WriteFile.Sync()
}

func (f faultyFile) Close() error {
	if err := f.WriteFile.Close(); err != nil || f.at != "close" {
		return err
	}
	return errInjected
}

func TestSaveFaultsLeaveTheOldFile(t *testing.T) {
	for _, at := range []string{"create", "write", "sync", "close", "rename", "syncdir"} {
		t.Run(at, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "vm.godwit")
			old := memtest.New(10).Fill(1, 1)
			_, err := snapshot.Write(ctx, snapshot.Disk{}, path, snapshot.Meta{}, nil, old, snapshot.Options{})
			require.NoError(t, err)
			young := memtest.New(10).Fill(2, 1)
			_, err = snapshot.Write(ctx, faulty{at: at}, path, snapshot.Meta{}, nil, young, snapshot.Options{})
			require.ErrorIs(t, err, errInjected)
			require.ErrorContains(t, err, path)

			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, left, 1, "the temporary file is gone")
			f, err := snapshot.Open(snapshot.Disk{}, path)
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, f.Verify(ctx))
			want := old.Root(nil)
			if at == "syncdir" { // the rename happened
				want = young.Root(nil)
			}
			require.Equal(t, want, f.Root())
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	m := memtest.New(4).Fill(1, 1)
	for _, tt := range []struct {
		name string
		meta snapshot.Meta
		secs []snapshot.Section
		o    snapshot.Options
		want string
	}{
		{"twice", snapshot.Meta{}, []snapshot.Section{{Name: "a"}, {Name: "a"}}, snapshot.Options{}, "section a occurs twice"},
		{"no name", snapshot.Meta{}, []snapshot.Section{{}}, snapshot.Options{}, "is 0 bytes long, want 1 to 64"},
		{"bad name", snapshot.Meta{}, []snapshot.Section{{Name: "a b"}}, snapshot.Options{}, "printable ASCII"},
		{"codec", snapshot.Meta{}, nil, snapshot.Options{Codec: 9}, "compression 9 is unknown"},
		{"chunk", snapshot.Meta{}, nil, snapshot.Options{ChunkPages: 65}, "chunks of 65 pages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := snapshot.WriteTo(ctx, io.Discard, tt.meta, tt.secs, m, tt.o)
			require.ErrorContains(t, err, tt.want)
		})
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := snapshot.WriteTo(cancelled, io.Discard, snapshot.Meta{}, nil, m, snapshot.Options{})
	require.ErrorIs(t, err, context.Canceled)
}

// stale is a memory whose hash of one page is out of date.
type stale struct{ *memtest.Memory }

func (s stale) Leaf(p uint32) [snapshot.LeafSize]byte {
	if p == 2 {
		return snapshot.ZeroLeaf()
	}
	return s.Memory.Leaf(p)
}

func TestWriteNoticesStaleHash(t *testing.T) {
	m := memtest.New(4)
	require.NoError(t, m.Restore(2, bytes.Repeat([]byte{1}, snapshot.PageSize)))
	_, err := snapshot.WriteTo(ctx, io.Discard, snapshot.Meta{}, nil, stale{m}, snapshot.Options{})
	require.ErrorContains(t, err, "page 2: its hash is recorded as")
}

func TestCheckKnown(t *testing.T) {
	known := func(name string) (uint16, bool) {
		v, ok := map[string]uint16{"uart": 2}[name]
		return v, ok
	}
	for _, tt := range []struct {
		sec  snapshot.Section
		want string
	}{
		{snapshot.Section{Name: "uart", Version: 2}, ""},
		{snapshot.Section{Name: "uart", Instance: "uart0", Version: 3}, "section uart/uart0 has version 3; this build of godwit knows up to 2"},
		{snapshot.Section{Name: "hpet", Required: true}, "section hpet is required and unknown"},
		{snapshot.Section{Name: "notes"}, ""},
	} {
		err := snapshot.CheckKnown([]snapshot.Section{tt.sec}, known)
		if tt.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, tt.want)
		}
	}
}
