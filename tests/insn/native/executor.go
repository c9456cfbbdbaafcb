package native

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Executor is a running exec.c.
type Executor struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	id  uint32
	ldt bool // the kernel lets programs have one
}

// Build compiles exec.c into dir.
func Build(dir string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	bin := filepath.Join(dir, "exec")
	out, err := exec.Command("gcc", "-O2", "-Wall", "-Werror", "-ffreestanding", "-nostdlib", "-nostartfiles", "-static-pie", "-fPIE",
		"-fno-stack-protector", "-mgeneral-regs-only", "-o", bin, filepath.Join(filepath.Dir(file), "exec", "exec.c")).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile exec.c: %w: %s", err, out)
	}
	return bin, nil
}

// Start runs the program that Build made.
func Start(bin string) (*Executor, error) {
	x := &Executor{cmd: exec.Command(bin)}
	in, err := x.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := x.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	x.in, x.out = in, bufio.NewReaderSize(out, 1<<18)
	if err := x.cmd.Start(); err != nil {
		return nil, err
	}
	ldt, err := x.out.ReadByte()
	x.ldt = ldt != 0
	return x, err
}

// Close ends the program.
func (x *Executor) Close() error {
	x.in.Close()
	io.Copy(io.Discard, x.out)
	return x.cmd.Wait()
}

// Run executes cases, in order.
func (x *Executor) Run(cases []*Case) ([]*Result, error) {
	failed := make(chan error, 1)
	first := x.id
	x.id += uint32(len(cases))
	go func() {
		var b []byte
		for i, c := range cases {
			b = c.appendInput(b, first+uint32(i))
			if len(b) > 1<<16 || i == len(cases)-1 {
				if _, err := x.in.Write(b); err != nil {
					failed <- err
					return
				}
				b = b[:0]
			}
		}
		failed <- nil
	}()
	r := make([]*Result, len(cases))
	for i, c := range cases {
		o, err := readOutput(x.out, first+uint32(i), c.Vec != nil)
		if err != nil {
			if f := os.Getenv("INSN_DUMP"); f != "" {
				var b []byte
				for i, c := range cases {
					b = c.appendInput(b, uint32(i))
				}
				os.WriteFile(f, b, 0o644)
			}
			return nil, fmt.Errorf("case % x: %w", c.Code, err)
		}
		r[i] = o
	}
	return r, <-failed
}
