package fp

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

const (
	vectorFile = "testdata/vectors.zst"
	perVector  = 480 // vectors per operation
)

// vector is a request and what a real CPU answered.
type vector struct {
	Q request
	R answer
}

const vectorSize = 96

// transpose turns rows of n bytes into columns, which compress better.
func transpose(b []byte, n int) []byte {
	out := make([]byte, len(b))
	rows := len(b) / n
	for i := range b {
		out[i%n*rows+i/n] = b[i]
	}
	return out
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	packed, err := os.ReadFile(vectorFile)
	require.NoError(t, err)
	dec, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer dec.Close()
	raw, err := dec.DecodeAll(packed, nil)
	require.NoError(t, err)
	require.Zero(t, len(raw)%vectorSize)
	vs := make([]vector, len(raw)/vectorSize)
	raw = transpose(raw, len(vs))
	require.NoError(t, binary.Read(bytes.NewReader(raw), binary.LittleEndian, vs))
	return vs
}

// TestVectors replays what a real CPU computed, on every host.
func TestVectors(t *testing.T) {
	seen := map[uint16]int{}
	byCode := map[uint16]*op{}
	for i := range ops {
		byCode[ops[i].code] = &ops[i]
	}
	bad := 0
	for _, v := range readVectors(t) {
		o := byCode[v.Q.Op]
		require.NotNil(t, o, "operation %d", v.Q.Op)
		seen[v.Q.Op]++
		if d := o.check(&v.Q, &v.R); d != "" {
			t.Errorf("%s: %s\n\t%s", o.name, &v.Q, d)
			if bad++; bad == 20 {
				t.FailNow()
			}
		}
	}
	for i := range ops {
		require.Equal(t, perVector, seen[ops[i].code], "vectors of %s", ops[i].name)
	}
}
