package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"godwit/machine"
	"godwit/snapshot"
)

// FindImages checks the files to boot from and makes their paths absolute. A
// snapshot file given as an image is resumed.
func (s *Spec) FindImages() error {
	if s.Bios != "" {
		return findImage(&s.Bios)
	}
	s.splitInitrd()
	if s.Initrd != "" {
		if _, err := os.Stat(s.Initrd); err != nil {
			return AsError("cannot read initrd "+s.Initrd, err)
		}
		if err := checkInitrd(s.Initrd); err != nil {
			return err
		}
		abs, err := filepath.Abs(s.Initrd)
		if err != nil {
			return err
		}
		s.Initrd = abs
	}
	if s.Kernel == TinyName {
		return nil
	}
	if err := findImage(&s.Kernel); err != nil {
		return err
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

// Files of a folder that a guest was made in.
const (
	folderKernel = "vmlinuz"
	folderInitrd = "initrd.img"
)

// FindFolder takes a folder, as guest makes them, as the kernel and initrd in it.
// It tells whether the kernel was a folder.
func (s *Spec) FindFolder() (bool, error) {
	fi, err := os.Stat(s.Kernel)
	if err != nil || !fi.IsDir() {
		return false, nil // FindImages tells what is wrong with it
	}
	dir := s.Kernel
	s.Kernel = filepath.Join(dir, folderKernel)
	if _, err := os.Stat(s.Kernel); err != nil {
		return false, Fail("not-found", "cannot boot the folder "+dir, "there is no "+folderKernel+" in it", "godwit guest debian "+dir)
	}
	if initrd := filepath.Join(dir, folderInitrd); s.Initrd == "" {
		if _, err := os.Stat(initrd); err == nil {
			s.Initrd = initrd
		}
	}
	return true, nil
}

// splitInitrd takes a module's arguments off its name: FILE,ARGUMENTS.
func (s *Spec) splitInitrd() {
	if _, err := os.Stat(s.Initrd); err == nil {
		return
	}
	s.Initrd, s.Machine.ModuleArgs, _ = strings.Cut(s.Initrd, ",")
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
		return 0, Fail("usage", fmt.Sprintf("size %q is not possible", t), "it is a number of bytes, or one with K, M or G", "512M")
	}
	return n << shift, nil
}

// configHints say what to type, by the field of the configuration that is wrong.
var configHints = map[string]string{
	"memory": "-m 512M", "cpus": "-c 1", "cpu": "--cpu " + machine.DefaultConfig().CPU,
	"clock": "--clock " + machine.ClockWall, "append": "a shorter command line", "debug_exit": "--debug-exit=qemu",
}

// BadConfig is the error for a configuration that cannot be.
func BadConfig(b *machine.BadField) *Error {
	e := Fail("usage", b.Error(), "", "godwit run --help")
	if hint := configHints[b.Field]; hint != "" {
		e.Hint = hint
	}
	e.Field, e.Have, e.Want = b.Field, b.Have, b.Want
	return e
}

func last(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}
