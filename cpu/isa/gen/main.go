// Gen turns the instruction table, x86.tab, into the Go tables of package isa:
// the rows, the list of operations and features, and the decision trees that
// lead from an opcode to its row.
//
// It fails rather than guesses: on overlapping encodings, unknown operands,
// operands their encoding cannot hold, and attributes that make no sense.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := run(dir); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes the generated files of the table in dir.
func run(dir string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the generated files' contents by name, relative to dir.
func generate(dir string) (map[string][]byte, error) {
	f, err := os.Open(filepath.Join(dir, "x86.tab"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := parseTable(f)
	if err != nil {
		return nil, err
	}
	t, err := buildTrees(rows)
	if err != nil {
		return nil, err
	}
	return emit(rows, t)
}
