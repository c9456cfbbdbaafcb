package fp

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

var regen = flag.Bool("regen", false, "write testdata/vectors.zst anew from this host's FPU")

// oracle is the C program's path; it is built once per test run.
func oracle(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("needs a C compiler")
	}
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "oracle")
	out, err := exec.Command(cc, "-O1", "-mavx", "-mfma", "-mf16c", "-o", path, "testdata/oracle.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// vendorIs reports whether this Linux host's CPU is of the vendor.
func vendorIs(t *testing.T, vendor string) bool {
	t.Helper()
	b, err := os.ReadFile("/proc/cpuinfo")
	require.NoError(t, err)
	return bytes.Contains(b, []byte(vendor))
}

// ask runs the requests on the host's FPU.
func ask(t *testing.T, path string, reqs []request) []answer {
	t.Helper()
	var in bytes.Buffer
	in.Grow(len(reqs) * 56)
	require.NoError(t, binary.Write(&in, binary.LittleEndian, reqs))
	cmd := exec.Command(path)
	cmd.Stdin = &in
	out, err := cmd.Output()
	require.NoError(t, err)
	res := make([]answer, len(reqs))
	require.NoError(t, binary.Read(bytes.NewReader(out), binary.LittleEndian, res))
	return res
}

// TestAgainstHost compares every operation with the host's FPU.
func TestAgainstHost(t *testing.T) {
	path := oracle(t)
	const perOp = 20000
	amd := vendorIs(t, "AuthenticAMD")
	answersAMD = amd
	defer func() { answersAMD = true }()
	for i := range ops {
		o := &ops[i]
		if o.approx && !amd {
			continue // vendors differ here; TestVectors has AMD's answers
		}
		t.Run(o.name, func(t *testing.T) {
			var reqs []request
			for edgy := range uint64(8) {
				s := newSource(*seed*1000+uint64(i), edgy)
				for range perOp / 8 {
					reqs = append(reqs, o.request(s))
				}
			}
			bad := 0
			for j, want := range ask(t, path, reqs) {
				if !amd && o.name == "vcvtps2ph" && reqs[j].Ctl&0x800 == 0 && want.Flags&uint32(UE|DE) == uint32(UE|DE) {
					continue // where the result is exact in an unbounded range, Intel alone adds PE
				}
				if d := o.check(&reqs[j], &want); d != "" {
					t.Errorf("%s\n\t%s", &reqs[j], d)
					if bad++; bad == 8 {
						t.FailNow()
					}
				}
			}
		})
	}
}

// TestRegenerate writes the vectors if -regen asks for it.
func TestRegenerate(t *testing.T) {
	if *regen {
		writeVectors(t, makeVectors(t))
	}
}

func writeVectors(t *testing.T, vs []vector) {
	t.Helper()
	var raw bytes.Buffer
	require.NoError(t, binary.Write(&raw, binary.LittleEndian, vs))
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	require.NoError(t, err)
	packed := enc.EncodeAll(transpose(raw.Bytes(), vectorSize), nil)
	require.Less(t, len(packed), 1<<20)
	require.NoError(t, os.WriteFile(vectorFile, packed, 0o644))
}

func makeVectors(t *testing.T) (vs []vector) {
	t.Helper()
	path := oracle(t)
	for i := range ops {
		var reqs []request
		for edgy := range uint64(8) {
			s := newSource(uint64(i), edgy+1)
			for range perVector / 8 {
				reqs = append(reqs, ops[i].request(s))
			}
		}
		for j, a := range ask(t, path, reqs) {
			vs = append(vs, vector{reqs[j], a})
		}
	}
	return vs
}
