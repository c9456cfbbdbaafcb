package machine

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLogFormat checks the example of docs/format/log.md.
func TestLogFormat(t *testing.T) {
	page, err := os.ReadFile("../docs/format/log.md")
	require.NoError(t, err)
	block := strings.Split(string(page), "```")[1]
	want, err := hex.DecodeString(strings.Join(strings.Fields(block), ""))
	require.NoError(t, err)

	var b bytes.Buffer
	w, err := NewLogWriter(&b)
	require.NoError(t, err)
	in := Input{Count: 5, Time: 40, Kind: InputConsole, Data: []byte("x")}
	require.NoError(t, w.Add(in))
	require.Equal(t, want, b.Bytes())
	got, err := ReadLog(&b)
	require.NoError(t, err)
	require.Equal(t, []Input{in}, got)
}

func TestHostileLogs(t *testing.T) {
	for _, tt := range []struct{ name, log, err string }{
		{"empty", "", "not a godwit input log"},
		{"foreign", "something else entirely", "not a godwit input log"},
		{"cut length", logMagic + "\x01\x00", "record 0"},
		{"cut record", logMagic + "\x09\x00\x00\x00\xa4", "record 0"},
		{"huge", logMagic + "\xff\xff\xff\x7f", "at most"},
		{"no cbor", logMagic + "\x01\x00\x00\x00\xff", "record 0"},
		{"backwards", logMagic + "\x07\x00\x00\x00\xa3\x01\x05\x02\x00\x03\x01" + "\x07\x00\x00\x00\xa3\x01\x04\x02\x00\x03\x01", "before #5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadLog(strings.NewReader(tt.log))
			require.ErrorContains(t, err, tt.err)
		})
	}
}

func FuzzReadLog(f *testing.F) {
	f.Add([]byte(logMagic + "\x0b\x00\x00\x00\xa4\x01\x05\x02\x18\x28\x03\x01\x04\x41\x78"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := ReadLog(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		w, err := NewLogWriter(&out)
		require.NoError(t, err)
		for _, e := range in {
			require.NoError(t, w.Add(e))
		}
		again, err := ReadLog(&out)
		require.NoError(t, err)
		require.Equal(t, len(in), len(again))
	})
}
