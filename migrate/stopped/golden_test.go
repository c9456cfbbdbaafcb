package stopped_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	migrate "godwit/migrate/stopped"
	"godwit/snapshot"
	"godwit/snapshot/memtest"
)

var addGolden = flag.Bool("add-golden", false, "write golden files that are not there; those that are never change")

const (
	goldenSource = "testdata/stop-and-copy-1-none.source"
	goldenDest   = "testdata/stop-and-copy-1-none.dest"
)

// golden is the machine of the recorded conversation.
func golden(t testing.TB) *source {
	m := memtest.New(10)
	text := bytes.Repeat([]byte("bar-tailed godwit. "), 216)[:snapshot.PageSize]
	require.NoError(t, m.Restore(3, text))
	require.NoError(t, m.Restore(4, make([]byte, snapshot.PageSize)))
	require.NoError(t, m.Restore(9, bytes.Repeat([]byte{0x5a}, snapshot.PageSize)))
	return &source{m, []snapshot.Section{
		{Name: "clock", Version: 1, State: true, Data: []byte{0xa1, 0x01, 0x1a, 0x00, 0x01, 0x86, 0xa0}},
		{Name: "config", Version: 1, Required: true, Data: []byte{0xa1, 0x01, 0x0a}},
	}}
}

// recorder keeps what is written.
type recorder struct {
	net.Conn
	buf bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	n, err := r.Conn.Write(b)
	r.buf.Write(b[:n])
	return n, err
}

func converse(t *testing.T, c snapshot.Codec) (fromSource, fromDest []byte) {
	a, b := net.Pipe()
	ra, rb := &recorder{Conn: a}, &recorder{Conn: b}
	session := snapshot.UUID{0xc0, 0xde, 0, 1, 2, 3, 0x44, 5, 0x86, 7, 8, 9, 10, 11, 12, 13}
	sent, got := transfer(ctx, ra, rb, golden(t), &dest{pages: 10}, migrate.Options{Codec: c, Session: session})
	require.NoError(t, sent.err)
	require.NoError(t, got.err)
	return ra.buf.Bytes(), rb.buf.Bytes()
}

func record(t *testing.T, path string, b []byte) {
	if _, err := os.Stat(path); os.IsNotExist(err) && *addGolden {
		require.NoError(t, os.WriteFile(path, b, 0o644))
	}
}

// TestBothSidesKeepTheProtocol: uncompressed, both sides say byte for byte what
// they said when it was recorded. (Compressors may find shorter ways.)
func TestBothSidesKeepTheProtocol(t *testing.T) {
	src, dst := converse(t, snapshot.None)
	for path, have := range map[string][]byte{goldenSource: src, goldenDest: dst} {
		record(t, path, have)
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, hex.Dump(want), hex.Dump(have), path)
	}
}

// TestGoldenStreamsAreReceived: what a release has sent can be received for good.
func TestGoldenStreamsAreReceived(t *testing.T) {
	for _, c := range []snapshot.Codec{snapshot.S2, snapshot.Zstd} {
		src, _ := converse(t, c)
		record(t, "testdata/stop-and-copy-1-"+c.String()+".source", src)
	}
	files, err := filepath.Glob("testdata/*.source")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 3)
	for _, path := range files {
		stream, err := os.ReadFile(path)
		require.NoError(t, err)
		dst := &dest{pages: 10}
		_, err = migrate.Receive(ctx, struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(stream), io.Discard}, dst, migrate.Options{})
		require.NoError(t, err, path)
		src := golden(t)
		assert.Equal(t, 1, dst.running, path)
		assert.Equal(t, src.Root(), dst.Root(dst.state), path)
	}
}

// contentAt is where the pages' content lies in the source's golden stream.
const contentAt = 0x13e

var (
	dumpHead = regexp.MustCompile(`^(source|destination):$`)
	hexLine  = regexp.MustCompile(`^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?){1,16})`)
)

// TestMigrateDocument compares the page's hex dumps with the recorded streams
// and demands that they are shown whole, but for the content of the two pages.
func TestMigrateDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/migrate.md")
	require.NoError(t, err)
	streams, shown := map[string][]byte{}, map[string]int{}
	for name, path := range map[string]string{"source": goldenSource, "destination": goldenDest} {
		streams[name], err = os.ReadFile(path)
		require.NoError(t, err)
	}
	side := ""
	for line := range strings.Lines(string(doc)) {
		if m := dumpHead.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			side = m[1]
		}
		m := hexLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		off, err := strconv.ParseUint(m[1], 16, 32)
		require.NoError(t, err)
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		require.NoError(t, err)
		require.LessOrEqual(t, int(off)+len(b), len(streams[side]))
		assert.Equal(t, hex.EncodeToString(streams[side][off:int(off)+len(b)]), hex.EncodeToString(b), "%s at %08x", side, off)
		if side == "source" && shown[side] == contentAt {
			shown[side] += 2 * snapshot.PageSize
		}
		require.EqualValues(t, shown[side], off, "%s: dumps follow one another", side)
		shown[side] += len(b)
	}
	for name, b := range streams {
		assert.Len(t, b, shown[name], "%s is shown whole", name)
	}
}
