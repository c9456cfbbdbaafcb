package machine

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/cpu"
)

var update = flag.Bool("update", false, "rewrite docs/format/sections.md")

const schemaFile = "../docs/format/sections.md"

// schema writes the table of a struct's CBOR keys, and those of the structs in
// it.
func schema(b *strings.Builder, title string, t reflect.Type, done map[reflect.Type]bool) {
	if done[t] {
		return
	}
	done[t] = true
	fmt.Fprintf(b, "\n### %s\n\n| key | name | type |\n|---|---|---|\n", title)
	type row struct {
		key  int
		text string
	}
	var rows []row
	var inner []reflect.Type
	var fields func(t reflect.Type)
	fields = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			tag := strings.Split(f.Tag.Get("cbor"), ",")
			if f.Anonymous && tag[0] == "" {
				fields(f.Type)
				continue
			}
			if !f.IsExported() || tag[0] == "-" {
				continue
			}
			key, err := strconv.Atoi(tag[0])
			if err != nil {
				panic(fmt.Sprintf("%s.%s has no integer key", t, f.Name))
			}
			rows = append(rows, row{key, fmt.Sprintf("| %d | %s | %s |\n", key, f.Name, typeName(f.Type))})
			e := f.Type
			for e.Kind() == reflect.Array || e.Kind() == reflect.Slice {
				e = e.Elem()
			}
			if e.Kind() == reflect.Struct {
				inner = append(inner, e)
			}
		}
	}
	fields(t)
	sort.SliceStable(rows, func(i, j int) bool { return rows[i].key < rows[j].key })
	for i, r := range rows {
		if i > 0 && rows[i-1].key == r.key {
			panic(fmt.Sprintf("%s uses key %d twice", t, r.key))
		}
		b.WriteString(r.text)
	}
	for _, e := range inner {
		schema(b, "`"+typeName(e)+"`", e, done)
	}
}

// typeName names what is encoded: registers are encoded as the sixteen general
// ones.
func typeName(t reflect.Type) string {
	if t == reflect.TypeOf(cpu.GPRs{}) {
		return "[16]uint64"
	}
	switch t.Kind() {
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), typeName(t.Elem()))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "[]" + typeName(t.Elem())
	case reflect.Struct:
		return strings.TrimPrefix(t.String(), "*")
	}
	return t.Kind().String()
}

// TestSchema checks that docs/format/sections.md says what every section holds.
// A changed line there is a changed format: add keys, never change their meaning.
func TestSchema(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Memory, cfg.DebugExit, cfg.TestDev, cfg.Debugcon = 4<<20, DebugExitGodwit, true, 0xe9
	cfg.Disks = []DiskConfig{{ID: "disk0"}}
	m, err := New(cfg, Images{}, &memHost{})
	require.NoError(t, err)
	defer m.Close()
	var b strings.Builder
	b.WriteString("# Sections of a machine\n\nEach section is one CBOR map with integer keys in Core Deterministic Encoding [RFC 8949 4.2.1]. " +
		"`config` and `images` are not state: they do not enter the state hash. Nor are `working-set` and `next-pages` of a suspended machine's file: lists of pages that are read first on resume. Every other section does, with its name, instance and version. " +
		"All versions are 1. This page is written by `go test ./machine -update`.\n")
	done := map[reflect.Type]bool{}
	schema(&b, "config", reflect.TypeOf(m.cfg), done)
	schema(&b, "images", reflect.TypeOf(m.images), done)
	schema(&b, "machine", reflect.TypeOf(m.st), done)
	schema(&b, "cpu, instances 0, 1, ...", reflect.TypeOf(cpu.Arch{}), done)
	for _, d := range m.devs {
		schema(&b, "device, instance "+d.ID(), reflect.TypeOf(d.State()).Elem(), done)
	}
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}
