package snapshot_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

var addGolden = flag.Bool("add-golden", false, "write golden files that are not there; those that are never change")

// goldenRoot is the state hash of the golden machine, for good.
const goldenRoot = "df442a783831c0d9d0c76217c96ba46b2e083f1e9940ede921031448e93e6d2f"

func goldenMachine(t testing.TB) (*memtest.Memory, []snapshot.Section) {
	m := memtest.New(514)
	text := bytes.Repeat([]byte("bar-tailed godwit. "), 216)[:snapshot.PageSize]
	require.NoError(t, m.Restore(3, text))
	require.NoError(t, m.Restore(4, make([]byte, snapshot.PageSize)))
	ramp := make([]byte, snapshot.PageSize)
	for i := range ramp {
		ramp[i] = byte(i)
	}
	require.NoError(t, m.Restore(513, ramp))
	return m, []snapshot.Section{
		{Name: "clock", Version: 1, State: true, Data: []byte{0xa1, 0x01, 0x1a, 0x00, 0x01, 0x86, 0xa0}},
		{Name: "config", Version: 1, Required: true, Data: append([]byte{0xa1, 0x01, 0x58, 0x40}, make([]byte, 64)...)},
		{Name: "uart", Instance: "uart0", Version: 2, State: true, Data: []byte{0xa1, 0x02, 0x18, 0x60}},
	}
}

func goldenBytes(t *testing.T, c snapshot.Codec) []byte {
	m, secs := goldenMachine(t)
	meta := snapshot.Meta{
		UUID:  snapshot.UUID{0xc0, 0xde, 0, 1, 2, 3, 0x44, 5, 0x86, 7, 8, 9, 10, 11, 12, 13},
		Count: 100000, Created: 1_700_000_000_000_000_000, CPUModel: "godwit-1",
	}
	var b bytes.Buffer
	_, err := snapshot.WriteTo(ctx, &b, meta, secs, m, snapshot.Options{Codec: c})
	require.NoError(t, err)
	return b.Bytes()
}

func goldenPath(c snapshot.Codec) string {
	return filepath.Join("testdata", "golden-1-"+c.String()+".godwit")
}

// TestGoldenCorpus: every file a release could have written loads for good.
func TestGoldenCorpus(t *testing.T) {
	for _, c := range []snapshot.Codec{snapshot.None, snapshot.S2, snapshot.Zstd} {
		if _, err := os.Stat(goldenPath(c)); os.IsNotExist(err) && *addGolden {
			require.NoError(t, os.WriteFile(goldenPath(c), goldenBytes(t, c), 0o644))
		}
	}
	files, err := filepath.Glob("testdata/golden-*.godwit")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 3)
	m, secs := goldenMachine(t)
	want, err := snapshot.Sorted(secs)
	require.NoError(t, err)
	for _, path := range files {
		f, err := snapshot.Open(snapshot.Disk{}, path)
		require.NoError(t, err, path)
		require.NoError(t, f.Verify(ctx), path)
		root := f.Root()
		assert.Equal(t, goldenRoot, hex.EncodeToString(root[:]), path)
		have, err := f.Sections()
		require.NoError(t, err, path)
		assert.Equal(t, want, have, path)
		got := memtest.New(f.Pages())
		require.NoError(t, f.LoadAll(ctx, got), path)
		assert.Equal(t, m.Root(secs), got.Root(have), path)
		require.NoError(t, f.Close())
	}
}

// TestWriterKeepsFormat: uncompressed, the writer's bytes are those of the
// golden file. (Compressors may find shorter ways.)
func TestWriterKeepsFormat(t *testing.T) {
	want, err := os.ReadFile(goldenPath(snapshot.None))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, goldenBytes(t, snapshot.None)))
}

var hexLine = regexp.MustCompile(`(?m)^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?){1,16})`)

// TestSnapshotDocument compares every line of the page's hex dumps with the
// golden file, and demands that every structural byte is shown.
func TestSnapshotDocument(t *testing.T) {
	file, err := os.ReadFile(goldenPath(snapshot.None))
	require.NoError(t, err)
	doc, err := os.ReadFile("../docs/format/snapshot.md")
	require.NoError(t, err)
	shown := make([]bool, len(file))
	for _, m := range hexLine.FindAllStringSubmatch(string(doc), -1) {
		off, err := strconv.ParseUint(m[1], 16, 32)
		require.NoError(t, err)
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		require.NoError(t, err)
		require.LessOrEqual(t, int(off)+len(b), len(file))
		assert.Equal(t, hex.EncodeToString(file[off:int(off)+len(b)]), hex.EncodeToString(b), "at %08x", off)
		for i := range b {
			shown[int(off)+i] = true
		}
	}
	for i, b := range file {
		content := i >= 0x104f && i < 0x204f || i >= 0x2087 && i < 0x3087 // the two stored pages
		if b != 0 && !content {
			require.True(t, shown[i], "byte %#x of the golden file is %#02x and is not in the document", i, b)
		}
	}
}
