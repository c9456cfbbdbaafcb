// Command fuzz runs each fuzz target of the module for a while, one after the
// other: go run ./tests/fuzz [DURATION], by default 30s.
package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// target is one fuzz function of a package.
type target struct{ dir, name string }

var declared = regexp.MustCompile(`^func (Fuzz\w+)\(`)

func main() {
	each := "30s"
	if len(os.Args) > 1 {
		each = os.Args[1]
	}
	if _, err := time.ParseDuration(each); err != nil {
		fail(err)
	}
	targets, err := find(".")
	if err != nil {
		fail(err)
	}
	failed := 0
	for _, t := range targets {
		fmt.Printf("== %s %s\n", t.dir, t.name)
		c := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each, "./"+t.dir)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if c.Run() != nil {
			failed++
		}
	}
	if failed > 0 || len(targets) == 0 {
		fail(fmt.Errorf("%d of %d fuzz targets failed", failed, len(targets)))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "fuzz:", err)
	os.Exit(1)
}

// find lists the fuzz functions below a folder.
func find(root string) (out []target, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		s := bufio.NewScanner(f)
		for s.Scan() {
			if m := declared.FindStringSubmatch(s.Text()); m != nil {
				out = append(out, target{filepath.ToSlash(filepath.Dir(path)), m[1]})
			}
		}
		return s.Err()
	})
	return out, err
}
