package cpu

import (
	"bytes"
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"godwit/cpu/isa"
)

var (
	x87Regen = flag.Bool("x87regen", false, "write "+x87Vectors+" anew from this host's FPU")
	x87Seed  = flag.Uint64("x87seed", 1, "seed of the comparison with this host's FPU")
	x87Count = flag.Int("x87count", 300, "comparisons per encoding")
)

// x87Oracle builds testdata/x87.c.
func x87Oracle(t *testing.T) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("needs a C compiler")
	}
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "x87")
	out, err := exec.Command(cc, "-O1", "-o", path, "testdata/x87.c").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// askX87 runs the requests on the host's FPU.
func askX87(t *testing.T, qs []x87Request) []x87Answer {
	t.Helper()
	var in bytes.Buffer
	require.NoError(t, binary.Write(&in, binary.LittleEndian, qs))
	cmd := exec.Command(x87Oracle(t))
	cmd.Stdin = &in
	out, err := cmd.Output()
	require.NoError(t, err)
	as := make([]x87Answer, len(qs))
	require.NoError(t, binary.Read(bytes.NewReader(out), binary.LittleEndian, as))
	return as
}

// TestX87AgainstHost compares with the host's FPU if that is one of AMD's.
func TestX87AgainstHost(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	require.NoError(t, err)
	if !bytes.Contains(info, []byte("AuthenticAMD")) {
		return // what the manuals leave open follows AMD's: see TestX87Vectors
	}
	qs := newX87Source(*x87Seed).requests(*x87Count)
	replayX87(t, qs, askX87(t, qs))
}

// TestX87Regenerate writes the vectors if -x87regen asks for it.
func TestX87Regenerate(t *testing.T) {
	if !*x87Regen {
		return
	}
	qs := newX87Source(0).requests(x87PerEncoding)
	var raw bytes.Buffer
	require.NoError(t, binary.Write(&raw, binary.LittleEndian, qs))
	require.NoError(t, binary.Write(&raw, binary.LittleEndian, askX87(t, qs)))
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	require.NoError(t, err)
	packed := enc.EncodeAll(raw.Bytes(), nil)
	require.Less(t, len(packed), 300<<10)
	require.NoError(t, os.WriteFile(x87Vectors, packed, 0o644))
}

const x87PerEncoding = 36 // vectors in the recording

// x87Source draws requests.
type x87Source struct {
	*rand.Rand
	pool []F80 // that registers are drawn from; a small one compresses well
}

func newX87Source(seed uint64) *x87Source {
	s := &x87Source{Rand: rand.New(rand.NewPCG(seed, 87))}
	s.pool = append(s.pool, x87Edges...)
	for range 160 {
		s.pool = append(s.pool, s.number())
	}
	return s
}

// x87Edges are zeros, denormals, unsupported encodings, infinities, NaNs, and
// limits of formats and functions.
var x87Edges = []F80{
	{},
	{},
	{1, 0},
	{1<<63 - 1, 0},
	{1 << 63, 0},
	{1<<64 - 1, 0},
	{1 << 63, 1},
	{1<<64 - 1, 0x7ffe},
	{1 << 62, 0x3fff},
	{0, 0x4000},
	{1, 0x7fff},
	{1 << 63, 0x7fff},
	{3 << 62, 0x7fff},
	{3<<62 + 5, 0x7fff},
	{1<<63 + 1, 0x7fff},
	{1<<63 + 1<<61, 0x7fff},
	{1 << 63, 0x3fff},
	{1<<64 - 1, 0x3ffe},
	{1 << 63, 0x4000},
	{3 << 62, 0x3fff},
	{1 << 63, 0x400e},
	{0xffff << 48, 0x400d},
	{1 << 63, 0x401e},
	{1 << 63, 0x403e},
	{1<<64 - 1, 0x403d},
	{1 << 63, 0x407f},
	{1 << 63, 0x3f80},
	{1 << 63, 0x43ff},
	{1 << 63, 0x3c00},
	{0xde0b6b3a76400000, 0x403a},
	{0xc90fdaa22168c235, 0x4000},
	{0xc90fdaa22168c235, 0x3fff},
	{1 << 63, 0x3fbe},
}

// number draws a normal number, most often of moderate size.
func (s *x87Source) number() F80 {
	v := F80{Mant: s.Uint64() | 1<<63, SE: uint16(1 + s.Uint64N(0x7ffe))}
	switch s.Uint64N(8) {
	case 0, 1, 2, 3:
		v.SE = uint16(0x3fff + s.Uint64N(16) - 12)
	case 4, 5:
		v.SE = uint16(0x3fff + s.Uint64N(140) - 70)
	case 6:
		v.Mant &= -(1 << (40 + s.Uint64N(23)))
		v.SE = uint16(0x3fff + s.Uint64N(30))
	}
	return v
}

func (s *x87Source) register() F80 {
	v := s.pool[s.IntN(len(s.pool))]
	v.SE |= uint16(s.Uint64N(2)) << 15
	return v
}

// image draws a state: registers, most often with all exceptions masked and no
// register empty, sometimes with exceptions of before.
func (s *x87Source) image() (b [108]uint8) {
	le := binary.LittleEndian
	fcw, fsw, tags := uint16(0x037f), uint16(s.Uint64N(8))<<11, uint16(0)
	fcw |= uint16(s.Uint64N(4)) << 10
	if s.Uint64N(4) == 0 {
		fcw = fcw&^0x300 | uint16(s.Uint64N(4))<<8
	}
	if s.Uint64N(3) == 0 {
		fcw = fcw&^0x3f | uint16(s.Uint64N(64))
	}
	if s.Uint64N(2) == 0 {
		fsw |= uint16(s.Uint64()) & fswCC
	}
	if s.Uint64N(12) == 0 {
		fsw |= uint16(s.Uint64()) & 0x7f
	}
	switch s.Uint64N(8) {
	case 0, 1:
		tags = uint16(s.Uint64())
	case 2, 3:
		tags = 3 << (2 * ((fsw>>11 - 1) & 7)) // one free register, for pushes
	case 4:
		tags = 0xffff
	}
	tags |= tags >> 1 & 0x5555
	tags |= tags & 0x5555 << 1 // valid or empty
	for i, v := range []uint16{fcw, fsw, tags} {
		le.PutUint16(b[4*i:], v)
	}
	le.PutUint32(b[12:], 0x11223344)
	le.PutUint32(b[16:], 0x05550033)
	le.PutUint32(b[20:], 0x55667788)
	for i := 28; i < 108; i += 10 {
		v := s.register()
		le.PutUint64(b[i:], v.Mant)
		le.PutUint16(b[i+8:], v.SE)
	}
	return b
}

// operand draws memory for an operand of any format.
func (s *x87Source) operand(in *isa.Inst) (b [112]uint8) {
	le := binary.LittleEndian
	switch {
	case in.Op == isa.FRSTOR || in.Op == isa.FLDENV:
		img := s.image()
		copy(b[:], img[:])
		if in.OpSize == 2 { // any other than the usual control word traps too often
			for i, v := range []uint16{fcwInit, uint16(s.Uint64()) & 0x7f00, uint16(s.Uint64()), 1, 0x33, 2, 0x2b} {
				le.PutUint16(b[2*i:], v)
			}
		}
		return b
	case in.Op == isa.FLDCW:
		le.PutUint16(b[:], uint16(s.Uint64()))
		return b
	}
	v := s.register()
	le.PutUint64(b[:], v.Mant)
	le.PutUint16(b[8:], v.SE)
	sign, exp := uint64(v.SE>>15), uint64(v.SE)&0x7fff
	switch size := in.ArgSize(0); {
	case in.Op == isa.FBLD:
		for i := range b[:10] {
			b[i] = uint8(s.Uint64N(10) | s.Uint64N(10)<<4)
		}
		b[9] = uint8(sign << 7)
	case intOperand(in.Op) || in.Op == isa.FILD:
		le.PutUint64(b[:], uint64(int64(s.Uint64())>>s.Uint64N(64)))
	case size == 4:
		le.PutUint32(b[:], uint32(sign<<31|narrowX87(exp, 0xff)<<23|v.Mant<<1>>41))
	case size == 8:
		le.PutUint64(b[:], sign<<63|narrowX87(exp, 0x7ff)<<52|v.Mant<<1>>12)
	}
	return b
}

// narrowX87 fits an exponent into the range of a smaller format.
func narrowX87(exp, top uint64) uint64 {
	switch {
	case exp == 0 || exp == 0x7fff:
		return exp & top
	case exp <= 0x3fff-top/2 || exp > 0x3fff+top/2:
		return exp % (top + 1)
	}
	return exp - 0x3fff + top/2
}

// requests draws n for every encoding of the x87, and of two for those whose
// operand size counts.
func (s *x87Source) requests(n int) (qs []x87Request) {
	for _, prefix := range []string{"", "\x66"} {
		codes := x87Encodings(prefix)
		for row := range isa.Rows {
			for i := 0; i < n && len(codes[row]) > 0; i++ {
				qs = append(qs, s.request(codes[row][s.IntN(len(codes[row]))]))
			}
		}
	}
	return qs
}

// x87Encodings lists the encodings of each row, with memory at RAX.
func x87Encodings(prefix string) map[int][]string {
	codes := map[int][]string{}
	add := func(code string) {
		var in isa.Inst
		if isa.Decode([]byte(code), isa.Mode64, &in) != isa.OK {
			return
		}
		env := in.Op == isa.FNSTENV || in.Op == isa.FLDENV || in.Op == isa.FNSAVE || in.Op == isa.FRSTOR
		if prefix == "" || env {
			codes[int(in.Row)] = append(codes[int(in.Row)], code)
		}
	}
	add("\x9b")
	for op := byte(0xd8); op <= 0xdf; op++ {
		for reg := range byte(8) {
			add(prefix + string([]byte{op, reg << 3}))
		}
		for modrm := 0xc0; modrm <= 0xff; modrm++ {
			add(prefix + string([]byte{op, byte(modrm)}))
		}
	}
	return codes
}

func (s *x87Source) request(code string) x87Request {
	var in isa.Inst
	isa.Decode([]byte(code), isa.Mode64, &in)
	q := x87Request{Len: uint8(len(code)), Flags: uint32(s.Uint64()) & flagsStatus, Image: s.image()}
	copy(q.Code[:], code)
	if in.Flags&isa.FlagMem != 0 {
		q.Mem = s.operand(&in)
	}
	return q
}
