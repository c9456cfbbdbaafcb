package guest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// extras are what the guest gets from the host.
type extras struct {
	init []byte
	add  map[string][]byte // by name in /bin
}

// extras reads the files that the options name.
func (o *Options) extras() (*extras, error) {
	x := &extras{init: defaultInit, add: map[string][]byte{}}
	if o.Init != "" {
		b, err := hostFile(o.Init)
		if err != nil {
			return nil, wrap("cannot use "+o.Init+" as /init", err)
		}
		x.init = b
	}
	for _, name := range o.Add {
		base := filepath.Base(name)
		b, err := hostFile(name)
		if err == nil {
			err = runnable(base, b)
		}
		if err == nil && (x.add[base] != nil || base == "busybox" || base == "sh") {
			err = fail(CodeUsage, "cannot put "+name+" into the guest", "/bin/"+base+" is there already", "a copy under another name")
		}
		if err != nil {
			return nil, wrap("cannot put "+name+" into the guest", err)
		}
		x.add[base] = b
	}
	return x, nil
}

// hostFile reads a file that the user names.
func hostFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fail(CodeUsage, "cannot use "+name, "it is no regular file", ""))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fail(CodeUsage, "cannot use "+name, fmt.Sprintf("it has more than %d bytes", maxFile), "")
	}
	return b, err
}

// runnable refuses programs that the guest could not start: it has no dynamic
// linker and no libraries.
func runnable(name string, b []byte) error {
	what := "cannot put " + name + " into the guest"
	if _, err := plain(name); err != nil || strings.ContainsAny(name, "/ ") || name == "." {
		return fail(CodeUsage, what, "names have no spaces and no slashes", "a copy under another name")
	}
	if bytes.HasPrefix(b, []byte("#!")) {
		return nil
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return fail(CodeUsage, what, "it is neither a script nor an ELF program", "a static program for x86-64 Linux")
	}
	if f.Machine != elf.EM_X86_64 && f.Machine != elf.EM_386 {
		e := fail(CodeIncompatible, what, "it is for another processor", "GOOS=linux GOARCH=amd64 go build")
		e.Field, e.Have, e.Want = "machine", f.Machine.String(), elf.EM_X86_64.String()
		return e
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fail(CodeUsage, what, "it is linked dynamically, and the guest has no libraries",
				"CGO_ENABLED=0 go build, or  cc -static")
		}
	}
	return nil
}

// key stands for all that a guest is made of.
func (x *extras) key(modules, omit []string, packages []Package) string {
	k := struct {
		Format   int
		Modules  []string
		Omit     []string `json:",omitempty"`
		Packages []Package
		Init     string
		Add      map[string]string // encoded by sorted keys
	}{1, modules, omit, nil, hashBytes(x.init), map[string]string{}}
	for name, b := range x.add {
		k.Add[name] = hashBytes(b)
	}
	for _, p := range packages {
		k.Packages = append(k.Packages, Package{Name: p.Name, Version: p.Version, SHA256: p.SHA256})
	}
	b, err := json.Marshal(k)
	if err != nil {
		panic("godwit bug: " + err.Error())
	}
	return hashBytes(b)
}

// tree is an initramfs without what comes from packages.
func (x *extras) tree() tree {
	t := tree{"dev": {mode: modeDir}, "proc": {mode: modeDir}, "sys": {mode: modeDir}}
	t.add("init", modeProg, bytes.ReplaceAll(x.init, []byte("\r\n"), []byte("\n")))
	t.add("bin/sh", modeLink, []byte("busybox"))
	for name, b := range x.add {
		t.add("bin/"+name, modeProg, b)
	}
	return t
}

// manifest is the file in a guest's folder that says what is in it.
type manifest struct {
	Key string `json:"key"`
	*Result
}

// unchanged returns what the folder has if it is what key stands for.
func unchanged(dir, key string) *Result {
	b, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	m := manifest{Result: &Result{}}
	if err != nil || json.Unmarshal(b, &m) != nil || m.Key != key || m.Result == nil {
		return nil
	}
	m.Kernel.Path, m.Initrd.Path = filepath.Join(dir, KernelFile), filepath.Join(dir, InitrdFile)
	if !m.Kernel.exists() || !m.Initrd.exists() {
		return nil
	}
	m.Unchanged = true
	return m.Result
}

// build is a guest in the making.
type build struct {
	ctx     context.Context
	dir     string
	modules []string
	tree    tree
	image   []byte
	release string
	order   []string
}

// contents opens the data.tar of a package as a file of its own, which is read
// more than once.
func (b *build) contents(src source, r record) (*os.File, error) {
	name, err := src.open(b.ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := openDeb(name)
	if err != nil {
		return nil, err
	}
	defer d.close()
	tmp, err := os.CreateTemp("", "godwit-*.tar")
	if err != nil {
		return nil, err
	}
	if err := d.data.unpack(b.ctx, tmp); err != nil {
		discard(tmp)
		return nil, wrap("cannot unpack "+r.name+" "+r.version, err)
	}
	return tmp, nil
}

func discard(f *os.File) {
	f.Close()
	os.Remove(f.Name())
}

// files calls fn for the files of a package.
func (b *build) files(f *os.File, fn func(file) error) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return walkTar(f, func(f file) error {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		return fn(f)
	})
}

// shell puts busybox into the initramfs.
func (b *build) shell(src source, r record) error {
	f, err := b.contents(src, r)
	if err != nil {
		return err
	}
	defer discard(f)
	err = b.files(f, func(f file) error {
		if f.path != "bin/busybox" {
			return nil
		}
		data, err := f.read()
		b.tree.add(f.path, modeProg, data)
		return err
	})
	if err == nil && b.tree["bin/busybox"].data == nil {
		err = damaged("it has no bin/busybox")
	}
	return err
}

// kernel takes the kernel and the modules that are asked for.
func (b *build) kernel(src source, r record) error {
	f, err := b.contents(src, r)
	if err != nil {
		return err
	}
	defer discard(f)
	mods := newModules()
	if err := b.files(f, func(f file) error { return b.look(f, mods) }); err != nil {
		return err
	}
	if b.image == nil {
		return damaged("it has no boot/vmlinuz-*")
	}
	if err := b.choose(mods); err != nil || len(b.order) == 0 {
		return err
	}
	wanted := map[string]bool{}
	for _, name := range b.order {
		wanted[mods.byName[name].path] = true
	}
	err = b.files(f, func(f file) error {
		rel, ok := b.moduleFile(f)
		if !ok || !wanted[moduleSuffix(rel)] {
			return nil
		}
		data, err := readModule(f)
		b.tree.add(b.moduleDir()+moduleSuffix(rel), modeFile, data)
		return err
	})
	b.tree.add(b.moduleDir()+"modules.dep", modeFile, mods.dep(b.order))
	b.tree.add("etc/modules", modeFile, []byte(strings.Join(b.order, "\n")+"\n"))
	return err
}

func (b *build) moduleDir() string { return "lib/modules/" + b.release + "/" }

// look keeps the kernel, and what its modules say of themselves. Packages hold
// boot/ before lib/, as their builders sort them.
func (b *build) look(f file, mods *modules) error {
	if release, ok := strings.CutPrefix(f.path, "boot/vmlinuz-"); ok {
		return b.takeImage(release, f)
	}
	rel, ok := b.moduleFile(f)
	if !ok {
		return nil
	}
	if rel == "modules.builtin" {
		text, err := f.read()
		mods.addBuiltin(text)
		return err
	}
	if !isModule(rel) {
		return nil
	}
	data, err := readModule(f)
	if err != nil {
		return err
	}
	return mods.add(rel, data)
}

func (b *build) takeImage(release string, f file) (err error) {
	if b.image != nil || !plainWord(release) {
		return damaged("it has a kernel named %.80q", f.path)
	}
	b.release = release
	if b.image, err = f.read(); err != nil {
		return err
	}
	if len(b.image) < 0x250 || string(b.image[0x202:0x206]) != "HdrS" {
		return damaged("%s is no bzImage", f.path)
	}
	return nil
}

// moduleFile is a file's path below the folder of the kernel's modules.
func (b *build) moduleFile(f file) (string, bool) {
	if b.release == "" {
		return "", false
	}
	return strings.CutPrefix(f.path, b.moduleDir())
}

// choose orders the modules that are asked for and what they need. virtio's
// devices are found by a transport, which is a module of its own that none of
// them names.
func (b *build) choose(mods *modules) (err error) {
	wanted, must := b.modules, true
	if wanted == nil {
		wanted, must = DefaultModules, false
	}
	if b.order, err = mods.closure(wanted, must); err != nil {
		return err
	}
	for _, name := range b.order {
		if name == "virtio" {
			b.order, err = mods.closure(append([]string{"virtio_pci"}, wanted...), false)
			break
		}
	}
	return err
}

// finish writes the guest's files. The manifest is removed first and written
// last: with it, the files are whole.
func (b *build) finish(packages []Package, key string) (*Result, error) {
	var initrd bytes.Buffer
	if err := b.tree.write(&initrd); err != nil {
		return nil, err
	}
	r := &Result{
		Release: b.release, Packages: packages, Modules: append([]string{}, b.order...),
		Kernel: fileOf(b.path(KernelFile), b.image), Initrd: fileOf(b.path(InitrdFile), initrd.Bytes()),
	}
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(b.path(ManifestFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	text, err := json.MarshalIndent(manifest{key, r.relative()}, "", "  ")
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{InitrdFile, initrd.Bytes()}, {KernelFile, b.image}, {ManifestFile, append(text, '\n')}} {
		if err := replace(b.path(f.name), f.data); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// relative is the result with paths inside the folder, which may be moved.
func (r *Result) relative() *Result {
	c := *r
	c.Kernel.Path, c.Initrd.Path = path.Base(KernelFile), path.Base(InitrdFile)
	return &c
}
