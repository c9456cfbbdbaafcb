package insn

import (
	"bufio"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"godwit/cpu"
)

//go:embed testdata/native.c
var nativeSource []byte

// imageSize is an XSAVE area of x87, SSE and AVX state in standard form
// [SDM 1 13.4].
const imageSize = 832

const maxDiffs = 64

// nativeInput and nativeOutput are native.c's records.
type nativeInput struct {
	R          [16]uint64
	Flags, Len uint64
	Code       [16]byte
	Data       [dataLen]byte
	Stack      [stackLen]byte
	Image      [imageSize]byte
}

type nativeOutput struct {
	R                                [16]uint64
	Flags, RIP, Trap, Err, CR2, NDif uint64
	Diff                             [maxDiffs][2]uint64
	Image                            [imageSize]byte
}

// BuildNative compiles the native executor into dir with the C compiler there
// is, and gives its path.
func BuildNative(dir string) (string, error) {
	src, bin := filepath.Join(dir, "native.c"), filepath.Join(dir, "native")
	if err := os.WriteFile(src, nativeSource, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("gcc", "-O1", "-mgeneral-regs-only", "-fcf-protection=none", "-o", bin, src)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("gcc: %w: %s", err, out)
	}
	return bin, nil
}

// Measure executes vectors by the native executor at path and sets their Out.
func Measure(path string, vs []Vector) (err error) {
	cmd := exec.Command(path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cmd.Wait()) }()
	go func() {
		defer stdin.Close()
		w := bufio.NewWriter(stdin)
		for i := range vs {
			s, mem := vs[i].Input()
			if binary.Write(w, binary.LittleEndian, encode(vs[i].Code, &s, mem)) != nil {
				return
			}
		}
		w.Flush()
	}()
	r := bufio.NewReader(stdout)
	for i := range vs {
		var out nativeOutput
		if err := binary.Read(r, binary.LittleEndian, &out); err != nil {
			return fmt.Errorf("native executor: after %d of %d vectors, at % x: %w", i, len(vs), vs[i].Code, err)
		}
		s, _ := vs[i].Input()
		o := out.outcome()
		vs[i].Out = effectOf(&s, &o, out.memory())
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

func encode(code []byte, s *State, mem []Window) *nativeInput {
	n := &nativeInput{R: s.R, Flags: s.RFLAGS | rflagsIF, Len: uint64(len(code))}
	copy(n.Code[:], code)
	copy(n.Data[:], mem[0].Data)
	copy(n.Stack[:], mem[1].Data)
	le, b := binary.LittleEndian, n.Image[:]
	le.PutUint16(b, s.FCW)
	le.PutUint16(b[2:], s.FSW)
	b[4] = s.FTW
	le.PutUint32(b[24:], s.MXCSR)
	for i, x := range s.ST {
		le.PutUint64(b[32+16*i:], x.Mant)
		le.PutUint16(b[40+16*i:], x.SE)
	}
	for i, x := range s.V {
		le.PutUint64(b[160+16*i:], x[0])
		le.PutUint64(b[168+16*i:], x[1])
		le.PutUint64(b[576+16*i:], x[2])
		le.PutUint64(b[584+16*i:], x[3])
	}
	b[512] = 7
	return n
}

// outcome decodes a result. Components that XSTATE_BV leaves out are in their
// initial state.
func (n *nativeOutput) outcome() (o Outcome) {
	le, b := binary.LittleEndian, n.Image[:]
	o.R, o.RFLAGS, o.RIP, o.Trap, o.Err, o.CR2 = n.R, n.Flags, n.RIP, int(int64(n.Trap)), n.Err, n.CR2
	if o.Trap == 3 { // INT3 at a branch's target
		o.Trap = -1
	}
	o.MXCSR, o.FCW = le.Uint32(b[24:]), 0x37f
	if b[512]&1 != 0 {
		o.FCW, o.FSW, o.FTW = le.Uint16(b), le.Uint16(b[2:]), b[4]
		for i := range o.ST {
			o.ST[i] = cpu.F80{Mant: le.Uint64(b[32+16*i:]), SE: le.Uint16(b[40+16*i:])}
		}
	}
	for i := range o.V {
		if b[512]&2 != 0 {
			o.V[i][0], o.V[i][1] = le.Uint64(b[160+16*i:]), le.Uint64(b[168+16*i:])
		}
		if b[512]&4 != 0 {
			o.V[i][2], o.V[i][3] = le.Uint64(b[576+16*i:]), le.Uint64(b[584+16*i:])
		}
	}
	return o
}

func (n *nativeOutput) memory() (list []MemValue) {
	for _, d := range n.Diff[:min(n.NDif, maxDiffs)] {
		list = append(list, MemValue{Addr: d[0], V: d[1]})
	}
	return list
}
