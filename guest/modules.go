package guest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"strings"
)

// DefaultModules are what a guest of godwit's devices needs, as far as its
// kernel has them as modules.
var DefaultModules = []string{
	"virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "virtio_balloon", "ext4",
}

// module is a kernel module of a package.
type module struct {
	path    string   // below lib/modules/RELEASE, without a suffix for compression
	depends []string // modules whose symbols it uses
	pre     []string // modules that it wants loaded before, if there are any
}

// modules knows the modules of one kernel by name. Packages do not carry
// modules.dep, which depmod makes when they are installed; what depmod starts
// from is in the modules themselves.
type modules struct {
	byName  map[string]module
	builtin map[string]bool
}

func newModules() *modules {
	return &modules{map[string]module{}, map[string]bool{}}
}

// moduleName is a module's name: its file's, with _ for - as the kernel has it.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// isModule tells modules, compressed ones too, from other files.
func isModule(name string) bool {
	return strings.HasSuffix(moduleSuffix(name), ".ko")
}

// moduleSuffix is the path without the suffix of a compression.
func moduleSuffix(name string) string {
	for _, s := range []string{".xz", ".zst", ".gz"} {
		if p, ok := strings.CutSuffix(name, s); ok {
			return p
		}
	}
	return name
}

// add reads what a module says of itself.
func (m *modules) add(rel string, elf []byte) error {
	info, err := modinfo(elf)
	if err != nil {
		return damaged("%s: %v", rel, err)
	}
	mod := module{path: moduleSuffix(rel)}
	for _, kv := range info {
		key, value, _ := strings.Cut(kv, "=")
		switch key {
		case "depends":
			mod.depends = append(mod.depends, names(strings.Split(value, ","))...)
		case "softdep":
			mod.pre = append(mod.pre, softPre(value)...)
		}
	}
	m.byName[moduleName(rel)] = mod
	return nil
}

func names(list []string) []string {
	var out []string
	for _, n := range list {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, moduleName(n))
		}
	}
	return out
}

// softPre is the first half of "pre: a b post: c".
func softPre(s string) []string {
	var out []string
	pre := false
	for _, w := range strings.Fields(s) {
		switch {
		case strings.HasSuffix(w, ":"):
			pre = w == "pre:"
		case pre:
			out = append(out, moduleName(w))
		}
	}
	return out
}

// addBuiltin reads modules.builtin: paths of what would be modules if it were
// not part of the kernel.
func (m *modules) addBuiltin(text []byte) {
	for _, l := range strings.Split(string(text), "\n") {
		if l = strings.TrimSpace(l); l != "" {
			m.builtin[moduleName(l)] = true
		}
	}
}

// closure lists modules and what they depend on, in an order in which they can
// be loaded. Of must, those that the kernel does not have are an error; others
// are left out.
func (m *modules) closure(wanted []string, must bool) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(name, by string) error
	visit = func(name, by string) error {
		mod, ok := m.byName[name]
		if seen[name] || m.builtin[name] {
			return nil
		}
		if !ok {
			return fmt.Errorf("module %s, on which %s depends, is missing", name, by)
		}
		seen[name] = true
		for _, p := range mod.pre {
			if _, ok := m.byName[p]; !ok {
				continue
			}
			if err := visit(p, name); err != nil {
				return err
			}
		}
		for _, d := range mod.depends {
			if err := visit(d, name); err != nil {
				return err
			}
		}
		order = append(order, name)
		return nil
	}
	for _, w := range wanted {
		name := moduleName(w)
		if _, ok := m.byName[name]; !ok && !m.builtin[name] {
			if !must {
				continue
			}
			return nil, fail(CodeNotFound, fmt.Sprintf("the kernel has no module %q", w),
				fmt.Sprintf("its package has %d modules", len(m.byName)), "--module virtio_blk")
		}
		if err := visit(name, w); err != nil {
			return nil, damaged("%v", err)
		}
	}
	return order, nil
}

// dep writes modules.dep for a closure: each module's path, and the paths of
// what must be loaded before it, the last first.
func (m *modules) dep(order []string) []byte {
	var b bytes.Buffer
	for _, name := range order {
		fmt.Fprintf(&b, "%s:", m.byName[name].path)
		need, _ := m.closure([]string{name}, true) // part of a closure that was found
		for i := len(need) - 2; i >= 0; i-- {
			fmt.Fprintf(&b, " %s", m.byName[need[i]].path)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// readModule returns a module's contents without its compression.
func readModule(f file) ([]byte, error) {
	b, err := f.read()
	if err != nil {
		return nil, err
	}
	in := io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
	r, done, err := member{path.Base(f.path), in}.unpacked()
	if err != nil {
		return nil, damaged("%s: %v", f.path, err)
	}
	defer done()
	out, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err == nil && len(out) > maxFile {
		err = errTooMuch
	}
	if err != nil {
		return nil, damaged("%s: %v", f.path, err)
	}
	return out, nil
}

// elfSections is where an ELF file of a class keeps its section headers, and
// where those keep a section's place [ELF 1.2, ELF-64 1.5].
type elfSections struct {
	header, section       int // sizes
	word                  int // of an address
	at, size, count, strs int // in the file's header
	off, length           int // in a section's
}

// elfClasses are the layouts of 32-bit and 64-bit files.
var elfClasses = map[byte]elfSections{
	1: {52, 40, 4, 32, 46, 48, 50, 16, 20},
	2: {64, 64, 8, 40, 58, 60, 62, 24, 32},
}

// modinfo lists the KEY=VALUE strings of a module's section .modinfo. A module
// is a little-endian ELF file.
func modinfo(b []byte) ([]string, error) {
	if len(b) < 52 || string(b[:4]) != "\x7fELF" || b[5] != 1 {
		return nil, fmt.Errorf("it is no little-endian ELF file")
	}
	l, ok := elfClasses[b[4]]
	if !ok || len(b) < l.header {
		return nil, fmt.Errorf("it is no ELF file of 32 or 64 bits")
	}
	le := binary.LittleEndian
	word := func(b []byte) uint64 {
		if l.word == 4 {
			return uint64(le.Uint32(b))
		}
		return le.Uint64(b)
	}
	n, strs := int(le.Uint16(b[l.count:])), int(le.Uint16(b[l.strs:]))
	if int(le.Uint16(b[l.size:])) != l.section || strs >= n {
		return nil, fmt.Errorf("it has no section headers")
	}
	table, ok := slice(b, word(b[l.at:]), uint64(n*l.section))
	if !ok {
		return nil, fmt.Errorf("its section headers lie outside of it")
	}
	contents := func(i int) ([]byte, bool) {
		h := table[i*l.section:]
		return slice(b, word(h[l.off:]), word(h[l.length:]))
	}
	nameTab, ok := contents(strs)
	if !ok {
		return nil, fmt.Errorf("its section names lie outside of it")
	}
	for i := range n {
		off := uint64(le.Uint32(table[i*l.section:]))
		if name, ok := slice(nameTab, off, 9); !ok || string(name) != ".modinfo\x00" {
			continue
		}
		info, ok := contents(i)
		if !ok || len(info) > maxControl {
			return nil, fmt.Errorf("its .modinfo lies outside of it")
		}
		return strings.Split(strings.Trim(string(info), "\x00"), "\x00"), nil
	}
	return nil, fmt.Errorf("it has no .modinfo")
}

func slice(b []byte, off, n uint64) ([]byte, bool) {
	if off > uint64(len(b)) || n > uint64(len(b))-off {
		return nil, false
	}
	return b[off : off+n], true
}
