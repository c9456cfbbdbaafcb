package cpu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

// x87Vectors is a recording of testdata/x87.c on an AMD CPU of family 25, made
// by TestX87Regenerate: the requests and then the answers, both by instruction.
const x87Vectors = "testdata/x87.zst"

// x87Request is an instruction and the state before it. Memory is what RAX points
// to.
type x87Request struct {
	Code  [7]uint8
	Len   uint8
	Flags uint32
	Image [108]uint8 // of FNSAVE in 32-bit protected mode
	Mem   [112]uint8
}

// x87Answer is the state after it. With a trap the rest is void.
type x87Answer struct {
	Trap, Flags, EAX uint32
	Image            [108]uint8
	Mem              [112]uint8
}

const x87RecordSize = 232 // of both

// Where testdata/x87.c has instruction and data.
const (
	x87Code = 0x10000100
	x87Data = 0x20000000
)

// x87Rig is a rig with these mapped, in 64-bit mode at level 3.
func x87Rig(t *testing.T) *rig {
	const pd, pt, code, data = rigPML4 + 0x2000, rigPML4 + 0x3000, 0x40000, 0x50000
	r := newRig(t)
	r.long(3)
	r.put64(pd, 0)
	r.put64(pd+8*(x87Code>>21), pt|7)
	r.put64(pt, code|7)
	r.put64(pd+8*(x87Data>>21), pt+0x1000|7)
	r.put64(pt+0x1000, data|7)
	r.Seg[isa.DS].Sel = 0
	r.changed()
	r.FlushTLB()
	return r
}

// exec executes an instruction at x87Code.
func (r *rig) exec(code []byte) bool {
	copy(r.ram[0x40000+x87Code&0xfff:], code)
	r.RIP = x87Code
	ok := r.fetch() && r.execute()
	r.materialize()
	return ok
}

var (
	frstorRBX = []byte{0xdd, 0xa3, 0, 2, 0, 0} // frstor [rbx+200h]
	fnsaveRBX = []byte{0xdd, 0xb3, 0, 3, 0, 0} // fnsave [rbx+300h]
)

// run executes the instruction between FRSTOR and FNSAVE.
func (q *x87Request) run(r *rig) (a x87Answer) {
	data := r.ram[0x50000:0x50400]
	clear(data)
	copy(data, q.Mem[:])
	copy(data[0x200:], q.Image[:])
	r.R = GPRs{RAX: x87Data, RBX: x87Data}
	r.FCW, r.FSW = fcwInit, 0
	r.exec(frstorRBX)
	r.RFLAGS = uint64(q.Flags) | flagsFixed
	if !r.exec(q.Code[:q.Len]) {
		return x87Answer{Trap: uint32(r.fault.Vec)}
	}
	a.Flags, a.EAX = uint32(r.RFLAGS)&flagsStatus, uint32(r.R[RAX])
	r.exec(fnsaveRBX)
	copy(a.Mem[:], data)
	copy(a.Image[:], data[0x300:])
	return a
}

// isTrans tells that results need not be the host's in their last bit.
func isTrans(op isa.Op) bool {
	switch op {
	case isa.F2XM1, isa.FYL2X, isa.FYL2XP1, isa.FPTAN, isa.FPATAN, isa.FSIN, isa.FCOS, isa.FSINCOS:
		return true
	}
	return false
}

// forgive makes got equal want where registers differ by a unit or two, and with
// them PE and C1.
func forgive(got, want *x87Answer) {
	for i := 28; i < 108; i += 10 {
		if g, w := got.Image[i:i+10], want.Image[i:i+10]; near80(g, w) {
			copy(g, w)
		}
	}
	got.Image[4] = got.Image[4]&^0x20 | want.Image[4]&0x20
	got.Image[5] = got.Image[5]&^0x02 | want.Image[5]&0x02
}

// near80 tells that two numbers are at most two units apart.
func near80(a, b []byte) bool {
	rank := func(v []byte) (se uint16, low uint64) {
		se = binary.LittleEndian.Uint16(v[8:])
		return se, binary.LittleEndian.Uint64(v)&^(1<<63) | uint64(se)<<63
	}
	sa, la := rank(a)
	sb, lb := rank(b)
	d := int64(la - lb)
	return sa-sb+1 <= 2 && d >= -2 && d <= 2
}

// check runs a vector and describes what differs from want.
func (q *x87Request) check(r *rig, want x87Answer) string {
	got := q.run(r)
	if want.Trap != 0 {
		want = x87Answer{Trap: want.Trap}
	}
	if isTrans(q.op()) {
		forgive(&got, &want)
	}
	if got == want {
		return ""
	}
	d := fmt.Sprintf("%s: trap %d, want %d; flags %03x, %03x before, want %03x; eax %x, want %x", q,
		got.Trap, want.Trap, got.Flags, q.Flags, want.Flags, got.EAX, want.EAX)
	d += "\nbefore " + dumpX87(&q.Image, &q.Mem)
	return d + "\n   got " + dumpX87(&got.Image, &got.Mem) + "\n  want " + dumpX87(&want.Image, &want.Mem)
}

// dumpX87 shows environment, registers and memory.
func dumpX87(image *[108]uint8, m *[112]uint8) string {
	le := binary.LittleEndian
	d := fmt.Sprintf("fcw %04x fsw %04x ftw %04x pointers %x st",
		le.Uint16(image[0:]), le.Uint16(image[4:]), le.Uint16(image[8:]), image[12:26])
	for i := 28; i < 108; i += 10 {
		d += fmt.Sprintf(" %02x%02x.%016x", image[i+9], image[i+8], binary.LittleEndian.Uint64(image[i:]))
	}
	return d + fmt.Sprintf("\n       mem %x", bytes.TrimRight(m[:], "\x00"))
}

func (q *x87Request) op() isa.Op {
	var in isa.Inst
	if isa.Decode(q.Code[:q.Len], isa.Mode64, &in) != isa.OK {
		return 0
	}
	return in.Op
}

func (q *x87Request) String() string { return fmt.Sprintf("%s % x", q.op(), q.Code[:q.Len]) }

// TestX87Vectors replays what a real CPU did.
func TestX87Vectors(t *testing.T) {
	packed, err := os.ReadFile(x87Vectors)
	require.NoError(t, err)
	dec, err := zstd.NewReader(nil)
	require.NoError(t, err)
	defer dec.Close()
	raw, err := dec.DecodeAll(packed, nil)
	require.NoError(t, err)
	require.Zero(t, len(raw)%(2*x87RecordSize))
	n := len(raw) / (2 * x87RecordSize)
	require.Greater(t, n, 5000)
	qs, as := make([]x87Request, n), make([]x87Answer, n)
	require.NoError(t, binary.Read(bytes.NewReader(raw[:n*x87RecordSize]), binary.LittleEndian, qs))
	require.NoError(t, binary.Read(bytes.NewReader(raw[n*x87RecordSize:]), binary.LittleEndian, as))
	replayX87(t, qs, as)
}

// replayX87 compares, and stops after a few differences.
func replayX87(t *testing.T, qs []x87Request, as []x87Answer) {
	r := x87Rig(t)
	bad := map[isa.Op]int{}
	for i := range qs {
		if d := qs[i].check(r, as[i]); d != "" {
			if bad[qs[i].op()]++; bad[qs[i].op()] <= 2 {
				assert.Fail(t, d)
			}
		}
	}
	assert.Empty(t, bad)
}
