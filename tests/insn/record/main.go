// Command record measures the instruction vectors of tests/insn on the processor
// it runs on.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"godwit/tests/insn"
)

func main() {
	n := flag.Int("n", 16, "vectors for each encoding")
	seed := flag.Uint("seed", 1, "what makes the vectors different")
	out := flag.String("o", "tests/insn/testdata/user.zst", "corpus to write")
	flag.Parse()
	if err := record(*n, uint32(*seed), *out); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func record(n int, seed uint32, out string) error {
	dir, err := os.MkdirTemp("", "insn")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin, err := insn.BuildNative(dir)
	if err != nil {
		return err
	}
	vs := insn.Generate(n, seed)
	if err := insn.Measure(bin, vs); err != nil {
		return err
	}
	const undefined = 6 // the processor lacks the instruction
	kept := vs[:0]
	for _, v := range vs {
		if v.Out.Trap != undefined && v.Out.MXCSR>>16 == 0 { // MXCSR.MM is AMD's, no model has it
			kept = append(kept, v)
		}
	}
	var b bytes.Buffer
	if err := insn.WriteCorpus(&b, kept); err != nil {
		return err
	}
	fmt.Printf("%d vectors, %d kept, %d bytes\n", len(vs), len(kept), b.Len())
	return os.WriteFile(out, b.Bytes(), 0o644)
}
