// Package arch tests the shape of the project: who imports whom, what the core
// may not see of the host, and that citations and generated files are in order.
package arch

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

type pkg struct {
	ImportPath string
	Imports    []string
	GoFiles    []string
	Dir        string
}

func packages(t *testing.T) []pkg {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,GoFiles,Dir", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err)
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p pkg
		require.NoError(t, d.Decode(&p))
		list = append(list, p)
	}
	require.Greater(t, len(list), 10)
	return list
}

// mayImport lists, by the longest matching prefix of a package, which of the
// project's packages it may import. "*" is everything but cmd.
var mayImport = map[string][]string{
	"mem":              {"internal/host"},
	"cpu/isa":          {},
	"cpu/fp":           {},
	"cpu":              {"cpu", "mem"},
	"cpu/gen":          {},
	"cpu/isa/gen":      {"cpu/isa"},
	"devices":          {"devices", "mem"},
	"firmware":         {"firmware", "mem"},
	"snapshot":         {"snapshot", "internal/host"},
	"migrate":          {"migrate", "snapshot"},
	"backend":          {"backend", "internal/host"},
	"machine":          {"cpu", "mem", "devices", "firmware", "snapshot", "migrate"},
	"guest":            {},
	"migrate/lab":      {"migrate", "snapshot"},
	"control/rehearse": {"machine", "devices", "migrate", "snapshot", "backend/disk"},
	"control/bench":    {"backend/disk", "control", "machine", "migrate", "guest"},
	"control":          {"control", "backend", "machine", "cpu", "mem", "devices", "firmware", "snapshot", "migrate", "internal"},
	"internal":         {"internal"},
	"internal/testkit": {"devices", "mem"},
	"cmd":              {"*"},
	"tests":            {"*"},
}

func rule(path string) []string {
	for p := path; p != "."; p = filepath.Dir(p) {
		if r, ok := mayImport[p]; ok {
			return r
		}
	}
	return nil
}

func allowed(rules []string, imp string) bool {
	for _, r := range rules {
		if (r == "*" && !strings.HasPrefix(imp, "cmd")) || imp == r || strings.HasPrefix(imp, r+"/") {
			return true
		}
	}
	return false
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		self := strings.TrimPrefix(p.ImportPath, "godwit/")
		rules := rule(self)
		require.NotNil(t, rules, "package %s has no rule: add one to mayImport", self)
		for _, imp := range p.Imports {
			if imp, ours := strings.CutPrefix(imp, "godwit/"); ours {
				require.True(t, allowed(rules, imp), "%s must not import %s", self, imp)
			}
		}
	}
}

// host lists what cpu, mem, devices and firmware must not see: whatever differs
// between two runs.
var host = []string{"os", "net", "net/http", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "time", "hash/maphash"}

func TestCoreDoesNotSeeTheHost(t *testing.T) {
	for _, p := range packages(t) {
		self := strings.TrimPrefix(p.ImportPath, "godwit/")
		if strings.Contains(self, "gen") {
			continue
		}
		core := false
		for _, c := range []string{"cpu", "mem", "devices", "firmware"} {
			core = core || self == c || strings.HasPrefix(self, c+"/")
		}
		for _, imp := range p.Imports {
			if core {
				require.NotContains(t, host, imp, "package %s", self)
			}
			if imp == "unsafe" {
				require.True(t, self == "mem" || self == "cpu/elem" || strings.HasPrefix(self, "internal/host") || strings.HasPrefix(self, "cpu/jit"), "%s imports unsafe", self)
			}
		}
	}
}

var keyInDocs = regexp.MustCompile(`(?m)^- \*\*([^*]+)\*\*`)

// TestCitationsAreKnown checks that what comments cite in capitals, such as
// [SDM 3A 6.12.1], is listed in docs/REFERENCES.md.
func TestCitationsAreKnown(t *testing.T) {
	refs, err := os.ReadFile(root + "/docs/REFERENCES.md")
	require.NoError(t, err)
	known := map[string]bool{}
	for _, m := range keyInDocs.FindAllSubmatch(refs, -1) {
		known[strings.Fields(string(m[1]))[0]] = true
	}
	cites := regexp.MustCompile(`\[([A-Z0-9][A-Z0-9a-z]*[A-Z0-9][A-Z0-9a-z]*)[ \]][^\[\]]*\]?`)
	seen := 0
	eachGoFile(t, func(path string, src []byte) {
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, g := range f.Comments {
			for _, m := range cites.FindAllStringSubmatch(g.Text(), -1) {
				if regexp.MustCompile(`^[0-9A-F]+$`).MatchString(m[1]) && len(m[1]) < 4 {
					continue
				}
				if !known[m[1]] && looksLikeKey(m[1]) {
					t.Errorf("%s cites [%s], which docs/REFERENCES.md does not list", path, m[1])
				}
				seen++
			}
		}
	})
	require.Greater(t, seen, 50, "the test no longer finds citations")
}

// looksLikeKey tells keys from bracketed register names and array bounds.
func looksLikeKey(s string) bool {
	switch s {
	case "SDM", "APM", "VIRTIO", "ACPI", "PCI", "LINUX", "QEMU", "PVH", "SMBIOS", "IEEE":
		return true
	}
	return strings.HasPrefix(s, "PC") || strings.HasPrefix(s, "MC1") || regexp.MustCompile(`^82[0-9]{2}`).MatchString(s) || strings.HasPrefix(s, "ICH")
}

// TestFunctionsFitAScreen bounds functions and files, generated ones aside.
func TestFunctionsFitAScreen(t *testing.T) {
	eachGoFile(t, func(path string, src []byte) {
		if bytes.HasPrefix(src, []byte("// Code generated")) || strings.Contains(path, "/gen/") {
			return
		}
		lines := bytes.Count(src, []byte("\n"))
		if !strings.HasSuffix(path, "_test.go") && lines > 700 {
			t.Errorf("%s has %d lines, at most 700", path, lines)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; n > 100 && !strings.HasSuffix(path, "_test.go") {
				t.Errorf("%s: %s has %d lines, at most 100", path, fn.Name.Name, n)
			}
		}
	})
}

func eachGoFile(t *testing.T, f func(path string, src []byte)) {
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || (d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root) {
			if d != nil && d.IsDir() && err == nil {
				return filepath.SkipDir
			}
			return err
		}
		if !d.IsDir() && strings.HasSuffix(path, ".go") {
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f(path, src)
		}
		return nil
	}))
}
