package stopped_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
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
