package fp

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

var seed = flag.Uint64("seed", 1, "seed of the operands compared with the host's own FPU")

// request is one operation for testdata/oracle.c.
type request struct {
	Op, Ctl, Imm, Pad uint16
	A, B, C           [2]uint64
}

// answer is what came of it: two results, and MXCSR or FSW.
type answer struct {
	R0, R1        [2]uint64
	Flags, EFlags uint32
}

// oracle is the C program's path; it is built once per test run.
func oracle(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" || runtime.GOOS != "linux" {
		t.Skip("needs an amd64 Linux host: testdata/vectors.zst stands in for it")
	}
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

// make draws a request for o. Masks are all set in most requests.
func (o *op) request(s source) request {
	q := request{Op: o.code, A: s.draw(o.a), B: s.draw(o.b), C: s.draw(o.c)}
	if o.imms > 0 {
		q.Imm = uint16(s.IntN(o.imms))
	}
	masks := uint16(AllExceptions)
	if s.Uint64N(16) == 0 {
		masks = uint16(s.Uint64N(64))
	}
	if o.isX87() {
		q.Ctl = masks | uint16([8]uint8{Prec64, Prec64, Prec64, Prec53, Prec53, Prec24, Prec24, 1}[s.Uint64N(8)])<<8 | uint16(s.Uint64N(4))<<10
	} else {
		q.Ctl = masks<<7 | uint16([8]uint8{Nearest, Nearest, Nearest, Nearest, Nearest, Down, Up, Zero}[s.Uint64N(8)])<<13
		if s.Uint64N(2) == 0 {
			q.Ctl |= uint16(PE) // sticky, and allows the fast path
		}
		if s.Uint64N(4) == 0 {
			q.Ctl |= uint16(s.Uint64N(2))<<6 | uint16(s.Uint64N(2))<<15
		}
	}
	return q
}

func (q *request) String() string {
	return fmt.Sprintf("ctl %04x imm %x a %x b %x c %x", q.Ctl, q.Imm, q.A, q.B, q.C)
}

// TestAgainstHost compares every operation with the host's FPU.
func TestAgainstHost(t *testing.T) {
	path := oracle(t)
	const perOp = 20000
	for i := range ops {
		o := &ops[i]
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
