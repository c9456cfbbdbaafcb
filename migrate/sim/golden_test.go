package sim

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/migrate"
)

var addGolden = flag.Bool("add-golden", false, "write golden files that are not there; those that are never change")

// recordings are conversations whose bytes never change.
func recordings() map[string]Scenario {
	p := Program{Pages: 12, Filled: 5, Area: 2, Rate: 640, Pattern: "seq", Content: "text", State: 40}
	l := Link{Bandwidth: 1e6, RTT: 2 * time.Millisecond}
	with := func(m migrate.Mode) Scenario {
		return Scenario{Program: p, Link: l, Options: migrate.Options{Mode: m, Codec: "none", Bandwidth: 100e3, Observe: 20 * time.Millisecond}}
	}
	return map[string]Scenario{"pre": with(migrate.ModePre), "post": with(migrate.ModePost)}
}

func record(t *testing.T, name string) map[string][]byte {
	sc := recordings()[name]
	said := map[string][]byte{}
	sc.Corrupt = func(fromSource bool, b []byte) []byte {
		side := map[bool]string{true: "source", false: "destination"}[fromSource]
		said[side] = append(said[side], b...)
		return b
	}
	res, err := Run(sc)
	require.NoError(t, err)
	require.NoError(t, res.SourceErr)
	return said
}

func golden(t *testing.T, name, side string, have []byte) []byte {
	path := "testdata/" + name + "-1." + side
	if _, err := os.Stat(path); os.IsNotExist(err) && *addGolden {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, have, 0o644))
	}
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// TestBothSidesKeepTheProtocol: both sides say byte for byte what they said when
// it was recorded.
func TestBothSidesKeepTheProtocol(t *testing.T) {
	for _, name := range []string{"pre", "post"} {
		for side, have := range record(t, name) {
			require.Equal(t, hex.Dump(golden(t, name, side, have)), hex.Dump(have), "%s, %s", name, side)
		}
	}
}

// TestGoldenStreamsAreReceived: what a release has sent can be received for good.
func TestGoldenStreamsAreReceived(t *testing.T) {
	stream, err := os.ReadFile("testdata/pre-1.source")
	require.NoError(t, err)
	near, far := net.Pipe()
	go io.Copy(io.Discard, near)
	go near.Write(stream)
	conns := make(chan net.Conn, 1)
	conns <- far
	b := NewBuilder(recordings()["pre"].Program, stopped{}, Costs{})
	_, err = migrate.Receive(context.Background(), conns, b, migrate.Options{})
	require.NoError(t, err)
	assert.True(t, b.Running())
	root, count := b.Root(), b.Count()
	assert.Equal(t, RootAt(recordings()["pre"].Program, count), root)
}

// stopped is a clock that stands still.
type stopped struct{}

func (stopped) Now() time.Duration { return 0 }

var (
	dumpHead = regexp.MustCompile(`^(source|destination):$`)
	hexLine  = regexp.MustCompile(`^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?){1,16})`)
	leftOut  = regexp.MustCompile(`^\.\.\. (\d+) bytes of content$`)
)

// TestMigrateDocument compares the page's hex dumps with the recorded streams and
// demands that they are shown whole, but for the content of pages.
func TestMigrateDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/migrate.md")
	require.NoError(t, err)
	streams, shown, side := map[string][]byte{}, map[string]int{}, ""
	for _, name := range []string{"source", "destination"} {
		streams[name], err = os.ReadFile("testdata/pre-1." + name)
		require.NoError(t, err)
	}
	for line := range strings.Lines(string(doc)) {
		line = strings.TrimSpace(line)
		if m := dumpHead.FindStringSubmatch(line); m != nil {
			side = m[1]
		}
		if m := leftOut.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			shown[side] += n
		}
		m := hexLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		off, err := strconv.ParseUint(m[1], 16, 32)
		require.NoError(t, err)
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		require.NoError(t, err)
		require.EqualValues(t, shown[side], off, "%s: dumps follow one another", side)
		require.LessOrEqual(t, int(off)+len(b), len(streams[side]))
		require.True(t, bytes.Equal(streams[side][off:int(off)+len(b)], b), "%s at %08x is %x", side, off, streams[side][off:int(off)+len(b)])
		shown[side] += len(b)
	}
	for name, b := range streams {
		assert.Len(t, b, shown[name], "%s is shown whole", name)
	}
}
