package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"godwit/snapshot"
)

// FindImages checks the files to boot from and makes their paths absolute. A
// snapshot file given as an image is resumed.
func (s *Spec) FindImages() error {
	for _, p := range []*string{&s.Kernel, &s.Initrd} {
		if *p == "" || p == &s.Kernel && *p == TinyName {
			continue
		}
		if err := findImage(p); err != nil {
			return err
		}
	}
	if s.Kernel == TinyName {
		return nil
	}
	f, err := snapshot.Open(snapshot.Disk{}, s.Kernel)
	var foreign *snapshot.NotGodwit
	if errors.As(err, &foreign) || errors.Is(err, os.ErrPermission) {
		return nil // boot tells what is wrong with it, if anything
	}
	s.Resume, s.Kernel = s.Kernel, ""
	if err == nil {
		f.Close()
	}
	return nil
}

func findImage(p *string) error {
	if _, err := os.Stat(*p); err != nil {
		hint := "godwit run tiny"
		if near := Nearest(*p, []string{TinyName}); near != "" {
			hint = "godwit run " + near
		}
		e := Fail("not-found", fmt.Sprintf("no image is named %q", *p), "there is no such file, and the images that are built in are: "+TinyName, hint)
		e.Field, e.Have = "image", *p
		return e
	}
	abs, err := filepath.Abs(*p)
	*p = abs
	return err
}

// ParseBytes reads a size: bytes, or with K, M, G or T, each 1024 of the one
// before.
func ParseBytes(t string) (uint64, error) {
	num := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(t), "IB"), "B")
	shift := 0
	if i := strings.IndexByte("KMGT", last(num)); i >= 0 {
		num, shift = num[:len(num)-1], 10*(i+1)
	}
	n, err := strconv.ParseUint(num, 10, 64)
	if err != nil || n > 1<<(63-shift) {
		return 0, Fail("usage", fmt.Sprintf("size %q is not possible", t), "it is a number of bytes, or one with K, M or G", "-m 512M")
	}
	return n << shift, nil
}

func last(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}
