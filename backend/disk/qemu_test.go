package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// qemu runs a tool that these tests take as their oracle.
func qemu(t *testing.T, tool string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", tool, args, out)
}

func checked(t *testing.T, path string) {
	t.Helper()
	qemu(t, "qemu-img", "check", "-q", "-f", "qcow2", path)
	r, err := Check(path, false, Options{})
	require.NoError(t, err)
	require.Zero(t, r.Leaks+r.Corruptions, "%v", r.Problems)
}

func same2(t *testing.T, img, rawFile string) {
	t.Helper()
	qemu(t, "qemu-img", "compare", "-F", "raw", img, rawFile)
}

func readAll(t *testing.T, i Image) []byte {
	t.Helper()
	b := make([]byte, i.Size())
	require.NoError(t, i.ReadAt(b, 0))
	return b
}

// churn does random operations to an image and to a model of it.
func churn(t *testing.T, rng *rand.Rand, img Image, model []byte, ops int) {
	t.Helper()
	size := int64(len(model))
	for range ops {
		off := rng.Int63n(size/512) * 512
		n := min(size-off, (1+rng.Int63n(1<<rng.Intn(10)))*512)
		part := model[off : off+n]
		switch k := rng.Intn(12); {
		case k < 6:
			rng.Read(part)
			require.NoError(t, img.WriteAt(part, off))
		case k == 6:
			clear(part)
			require.NoError(t, img.Discard(off, n))
		case k == 7:
			clear(part)
			require.NoError(t, img.WriteZeroes(off, n, rng.Intn(2) == 0))
		case k == 8:
			require.NoError(t, img.Flush())
		default:
			got := make([]byte, n)
			require.NoError(t, img.ReadAt(got, off))
			require.True(t, bytes.Equal(part, got), "%d bytes at %d", n, off)
		}
	}
}

func TestWriteAgainstQemu(t *testing.T) {
	for _, c := range []int64{512, 1024, 4096, 65536, 2 << 20} {
		for _, version := range []int{2, 3} {
			for _, backed := range []bool{false, true} {
				t.Run(fmt.Sprintf("cluster %d v%d backed %t", c, version, backed), func(t *testing.T) {
					writeAgainstQemu(t, c, version, backed)
				})
			}
		}
	}
}

func writeAgainstQemu(t *testing.T, c int64, version int, backed bool) {
	dir := t.TempDir()
	rng := rand.New(rand.NewSource(c + int64(version)))
	const size = 5<<20 + 512*3
	model := make([]byte, size)
	path, file := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "model")
	o := CreateOptions{Format: Qcow2, Size: size, ClusterSize: c, Version: version}
	if backed {
		base := make([]byte, 3<<20+512)
		rng.Read(base)
		copy(model, base)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "base"), base, 0o600))
		o.Backing, o.BackingFormat = "base", Raw
	}
	require.NoError(t, Create(path, o))
	checked(t, path)
	for range 3 {
		img, err := Open(path, Options{})
		require.NoError(t, err)
		churn(t, rng, img, model, 40)
		require.NoError(t, img.Close())
		require.NoError(t, os.WriteFile(file, model, 0o600))
		checked(t, path)
		same2(t, path, file)
	}
}

func TestReadWhatQemuMakes(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewSource(1))
	model := make([]byte, 3<<20)
	for i := 0; i < len(model); i += 1 << 18 {
		rng.Read(model[i : i+1<<16])
		copy(model[i+1<<16:], bytes.Repeat([]byte("godwit"), 9000))
	}
	file := filepath.Join(dir, "model")
	require.NoError(t, os.WriteFile(file, model, 0o600))
	for i, opts := range [][]string{
		{"-o", "cluster_size=512"},
		{"-o", "cluster_size=1k,compat=0.10"},
		{"-o", "cluster_size=4k"},
		{"-o", "cluster_size=2M"},
		{"-o", "cluster_size=16k,refcount_bits=1"},
		{"-o", "refcount_bits=2"},
		{"-o", "cluster_size=512,refcount_bits=4"},
		{"-o", "refcount_bits=8"},
		{"-o", "refcount_bits=32"},
		{"-o", "refcount_bits=64"},
		{"-c", "-o", "compat=0.10"},
		{"-c", "-o", "cluster_size=2M"},
		{"-c", "-o", "cluster_size=4k"},
		{"-c", "-o", "cluster_size=512"},
		{"-c", "-o", "compression_type=zstd"},
		{"-o", "preallocation=metadata"},
		{"-o", "preallocation=falloc"},
		{"-o", "lazy_refcounts=on"},
	} {
		t.Run(fmt.Sprint(opts), func(t *testing.T) {
			path := filepath.Join(dir, fmt.Sprintf("%d.qcow2", i))
			qemu(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, opts...), file, path)...)
			checked(t, path)
			img, err := Open(path, Options{})
			require.NoError(t, err)
			want := bytes.Clone(model)
			require.True(t, bytes.Equal(want, readAll(t, img)))
			churn(t, rand.New(rand.NewSource(int64(i))), img, want, 60)
			require.NoError(t, img.Close())
			changed := filepath.Join(dir, "changed")
			require.NoError(t, os.WriteFile(changed, want, 0o600))
			same2(t, path, changed)
			checked(t, path)
		})
	}
}

func TestSnapshotsKeepTheirClusters(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "model")
	rng := rand.New(rand.NewSource(2))
	model := make([]byte, 2<<20)
	rng.Read(model)
	require.NoError(t, os.WriteFile(file, model, 0o600))
	qemu(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", file, path)
	qemu(t, "qemu-img", "snapshot", "-c", "one", path)
	img, err := Open(path, Options{})
	require.NoError(t, err)
	now := bytes.Clone(model)
	churn(t, rng, img, now, 60)
	require.NoError(t, img.Close())
	checked(t, path)
	i, err := Inspect(path, Options{})
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, i.Snapshots)
	for _, name := range []string{"one", "1"} {
		img, err = Open(path, Options{ReadOnly: true, Snapshot: name})
		require.NoError(t, err)
		require.Equal(t, model, readAll(t, img), name)
		require.NoError(t, img.Close())
	}
	// The disk may have had another size then.
	qemu(t, "qemu-img", "snapshot", "-c", "two", path)
	require.NoError(t, Resize(path, 4<<20, false, Options{}))
	img, err = Open(path, Options{ReadOnly: true, Snapshot: "two"})
	require.NoError(t, err)
	require.Equal(t, now, readAll(t, img))
	require.NoError(t, img.Close())
	_, err = Open(path, Options{ReadOnly: true, Snapshot: "three"})
	require.ErrorContains(t, err, `no snapshot "three", there are ["one" "two"]`)
	_, err = Open(path, Options{Snapshot: "one"})
	require.ErrorIs(t, err, ErrReadOnly)
	_, err = Open(file, Options{Format: Raw, ReadOnly: true, Snapshot: "one"})
	require.ErrorIs(t, err, ErrUnsupported)
	qemu(t, "qemu-img", "snapshot", "-a", "one", path)
	same2(t, path, file)
}

func TestDirtyImageIsRepaired(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.qcow2")
	require.NoError(t, Create(path, CreateOptions{Format: Qcow2, Size: 1 << 20, ClusterSize: 4096}))
	img, err := Open(path, Options{})
	require.NoError(t, err)
	model := make([]byte, 1<<20)
	churn(t, rand.New(rand.NewSource(3)), img, model, 50)
	require.NoError(t, img.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[hIncompat+7] |= featDirty
	at := be.Uint64(b[be.Uint64(b[hRefOff:]):])
	clear(b[at+20 : at+200]) // counts of clusters in use
	require.NoError(t, os.WriteFile(path, b, 0o600))
	img, err = Open(path, Options{})
	require.NoError(t, err)
	require.True(t, bytes.Equal(model, readAll(t, img)))
	require.NoError(t, img.Close())
	checked(t, path)
}

// TestCorruptMark: an image marked as corrupt can be written again once it is repaired, and
// only if nothing is lost.
func TestCorruptMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.qcow2")
	require.NoError(t, Create(path, CreateOptions{Format: Qcow2, Size: 1 << 20, ClusterSize: 4096}))
	img, err := Open(path, Options{})
	require.NoError(t, err)
	churn(t, rand.New(rand.NewSource(3)), img, make([]byte, 1<<20), 20)
	require.NoError(t, img.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[hIncompat+7] |= featCorrupt
	clear(b[be.Uint64(b[be.Uint64(b[hRefOff:]):])+20:][:20])
	cut := len(b) - 5*4096

	require.NoError(t, os.WriteFile(path, b[:cut], 0o600))
	r, err := Check(path, true, Options{})
	require.NoError(t, err)
	require.NotZero(t, r.Repaired)
	require.NotZero(t, r.Left)
	require.Less(t, r.Left, r.Corruptions)
	require.True(t, r.Marked)
	_, err = Open(path, Options{})
	require.ErrorIs(t, err, ErrCorrupt)

	require.NoError(t, os.WriteFile(path, b, 0o600))
	r, err = Check(path, false, Options{})
	require.NoError(t, err)
	require.True(t, r.Marked)
	require.Equal(t, r.Corruptions, r.Left)
	_, err = Open(path, Options{})
	require.ErrorIs(t, err, ErrCorrupt)
	r, err = Check(path, true, Options{})
	require.NoError(t, err)
	require.NotZero(t, r.Corruptions)
	require.Zero(t, r.Left)
	require.False(t, r.Marked)
	img, err = Open(path, Options{})
	require.NoError(t, err)
	require.NoError(t, img.Close())
	checked(t, path)
}

func TestResizeAgainstQemu(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "a.qcow2"), filepath.Join(dir, "model")
	rng := rand.New(rand.NewSource(4))
	base := make([]byte, 2<<20)
	rng.Read(base)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "base"), base, 0o600))
	require.NoError(t, Create(path, CreateOptions{Format: Qcow2, Size: 1<<20 + 512, ClusterSize: 512, Backing: "base"}))
	model := bytes.Clone(base[:1<<20+512])
	for _, size := range []int{3 << 20, 1 << 19, 700 << 10, 8 << 20} {
		require.NoError(t, Resize(path, int64(size), true, Options{}))
		model = append(model[:min(size, len(model))], make([]byte, max(0, size-len(model)))...)
		img, err := Open(path, Options{})
		require.NoError(t, err)
		churn(t, rng, img, model, 20)
		require.NoError(t, img.Close())
		require.NoError(t, os.WriteFile(file, model, 0o600))
		checked(t, path)
		same2(t, path, file)
	}
	require.ErrorContains(t, Resize(path, 512, false, Options{}), "cut off")
}

func TestConvertAndCommitAgainstQemu(t *testing.T) {
	dir := t.TempDir()
	at := func(n string) string { return filepath.Join(dir, n) }
	rng := rand.New(rand.NewSource(5))
	model := make([]byte, 6<<20)
	rng.Read(model[1<<20 : 2<<20])
	require.NoError(t, os.WriteFile(at("model"), model, 0o600))
	src, err := Open(at("model"), Options{ReadOnly: true})
	require.NoError(t, err)
	last := int64(0)
	require.NoError(t, Convert(context.Background(), at("base"), src, CreateOptions{Format: Qcow2}, func(done, _ int64) { last = done }))
	require.NoError(t, src.Close())
	require.EqualValues(t, len(model), last)
	checked(t, at("base"))
	i, err := Inspect(at("base"), Options{})
	require.NoError(t, err)
	assert.Less(t, i.FileSize, int64(2<<20), "zeros take no space")

	over, err := Freeze(at("base"), at("over"), Options{})
	require.NoError(t, err)
	churn(t, rng, over, model, 40)
	require.NoError(t, over.Close())
	require.NoError(t, os.WriteFile(at("changed"), model, 0o600))
	same2(t, at("base"), at("model"))
	same2(t, at("over"), at("changed"))
	require.NoError(t, Commit(context.Background(), at("over"), Options{}, nil))
	for _, n := range []string{"over", "base"} {
		checked(t, at(n))
		same2(t, at(n), at("changed"))
	}
	src, err = Open(at("over"), Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, Convert(context.Background(), at("flat"), src, CreateOptions{}, nil))
	require.NoError(t, src.Close())
	got, err := os.ReadFile(at("flat"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(model, got))
}

// qemuNoCorruption allows leaks: qemu-img exits with 3 for those alone.
func qemuNoCorruption(t *testing.T, path, what string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "check", "-q", "-f", "qcow2", path).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		return
	}
	require.NoError(t, err, "%s: %s", what, out)
}
