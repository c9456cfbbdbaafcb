package guest

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

func xzOf(t testing.TB, check byte, block int64, data []byte) []byte {
	var b bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: check, NoCheckSum: check == 0, BlockSize: block, DictCap: 1 << 16}.NewWriter(&b)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func unXZ(b []byte) ([]byte, error) {
	r, err := newXZ(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestXZ(t *testing.T) {
	data := bytes.Repeat([]byte("god wit, "), 5000)
	for _, check := range []byte{xz.None, xz.CRC32, xz.CRC64, xz.SHA256} {
		for _, block := range []int64{1 << 20, 1000, 45000} {
			for _, d := range [][]byte{data, {}, {1}} {
				got, err := unXZ(xzOf(t, check, block, d))
				require.NoError(t, err)
				require.Equal(t, len(d), len(got))
				require.True(t, bytes.Equal(d, got))
			}
		}
	}
}

func TestXZSeesChangedContents(t *testing.T) {
	data := bytes.Repeat([]byte("bar-tailed "), 40)
	good := xzOf(t, xz.CRC32, 200, data)
	for i := range good {
		b := bytes.Clone(good)
		b[i] ^= 0x10
		got, err := unXZ(b)
		// Unseen may remain what does not change the contents: the packed size of
		// a chunk, the checksums of the index and the footer.
		require.True(t, err != nil || bytes.Equal(got, data), "byte %d of %d", i, len(good))
		_, err = unXZ(good[:i])
		require.Error(t, err, "cut at %d", i)
	}
	_, err := unXZ(append(bytes.Clone(good), 0))
	require.ErrorContains(t, err, "follows")
}

func TestXZDictionaryIsBounded(t *testing.T) {
	b := xzOf(t, xz.CRC32, 1000, []byte("x"))
	head := b[12 : 12+int(b[12]+1)*4]
	i := bytes.Index(head, []byte{0x21, 1})
	require.Positive(t, i)
	for _, tt := range []struct {
		code byte
		ok   bool
	}{{0, true}, {28, true}, {29, false}, {40, false}, {41, false}} {
		head[i+2] = tt.code
		binary.LittleEndian.PutUint32(head[len(head)-4:], crc32.ChecksumIEEE(head[:len(head)-4]))
		_, err := unXZ(b)
		if tt.ok {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "dictionary")
		}
	}
}
