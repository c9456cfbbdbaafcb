package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The fields an encoding may fix. Each has a set of values as a bit mask; the
// decoder's key holds one value of each.
const (
	fieldPfx  = iota // none, 66, F3, F2
	fieldMod         // ModRM.mod; 3 is the register form
	fieldReg         // ModRM.reg
	fieldRM          // ModRM.rm
	fieldMode        // 16, 32, 64
	fieldW           // REX.W or VEX.W
	fieldL           // VEX.L
	fieldB           // REX.B
	numFields
)

// fieldSize is how many values a field has, fieldShift where the decoder's key
// holds it: the ModRM byte comes first, as it is.
var (
	fieldSize  = [numFields]int{4, 4, 8, 8, 4, 2, 2, 2}
	fieldShift = [numFields]int{8, 6, 3, 0, 10, 12, 13, 14}
)

// row is one line of the table, parsed.
type row struct {
	line        int
	enc         string
	op          string
	args        [4]arg
	attrs       []string
	cpuid       string
	flagR       uint16
	flagW       uint16
	fixed       int
	maps        int  // opcode map: 0-3 legacy, 4-6 VEX
	first       int  // first opcode
	count       int  // opcodes it covers
	modrm       bool // a ModRM byte follows
	regUse      bool // ModRM.reg is an operand
	opreg       bool // the opcode's low bits are a register
	sets        [numFields]uint16
	marked      int    // prefix conditions named: more wins
	imm         string // immediate form
	vex         bool
	vectorIndex string // the memory operand has a vector index: x or y
}

var columns = regexp.MustCompile(`\s{2,}`)

func parseTable(r io.Reader) ([]*row, error) {
	var rows []*row
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		rw, err := parseRow(line)
		if err != nil {
			return nil, fmt.Errorf("x86.tab line %d: %w", n, err)
		}
		rw.line = n
		rows = append(rows, rw)
	}
	return rows, sc.Err()
}

func parseRow(line string) (*row, error) {
	col := columns.Split(line, -1)
	if len(col) != 7 {
		return nil, fmt.Errorf("row has %d columns, want 7", len(col))
	}
	rw := &row{enc: col[0], op: col[1], imm: "none", count: 1}
	for f := range rw.sets {
		rw.sets[f] = 1<<fieldSize[f] - 1
	}
	if col[6] != "-" {
		rw.attrs = strings.Fields(col[6])
	}
	if col[4] != "-" {
		rw.cpuid = col[4]
	}
	for _, step := range []func() error{
		func() error { return rw.parseEnc(col[0]) },
		func() error { return rw.parseArgs(col[2]) },
		func() error { return rw.parseModes(col[3]) },
		func() error { return rw.parseFlags(col[5]) },
		rw.takeFixed,
		rw.checkAttrs,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return rw, nil
}

func (r *row) parseModes(s string) error {
	switch s {
	case "all":
	case "64":
		r.sets[fieldMode] &= 1 << 2
	case "no64":
		r.sets[fieldMode] &= 1<<0 | 1<<1
	default:
		return fmt.Errorf("modes are %q, want all, 64 or no64", s)
	}
	return nil
}

// flagBits are the RFLAGS masks of the table's flag letters; n is IOPL and NT.
var flagBits = map[rune]uint16{
	'c': 1 << 0, 'p': 1 << 2, 'a': 1 << 4, 'z': 1 << 6, 's': 1 << 7, 't': 1 << 8,
	'i': 1 << 9, 'd': 1 << 10, 'o': 1 << 11, 'n': 7 << 12,
}

func (r *row) parseFlags(s string) error {
	if s == "-" {
		return nil
	}
	read, written, ok := strings.Cut(s, ":")
	if !ok {
		return fmt.Errorf("flags are %q, want read:written", s)
	}
	for _, part := range []struct {
		s   string
		dst *uint16
	}{{read, &r.flagR}, {written, &r.flagW}} {
		for _, c := range part.s {
			if flagBits[c] == 0 {
				return fmt.Errorf("flag %q is unknown", c)
			}
			*part.dst |= flagBits[c]
		}
	}
	return nil
}

// attrConst names the exported attribute of an attrs word; words with an empty
// name steer the decoder only.
var attrConst = map[string]string{
	"lock": "AttrLock", "cpl0": "AttrCPL0", "br": "AttrBranch", "end": "AttrEnd", "str": "AttrString",
	"fpu": "AttrX87", "mmx": "AttrMMX", "sse": "AttrSSE", "avx": "AttrAVX", "noreal": "AttrNoReal",
	"fallback": "AttrFallback", "rex64": "AttrRex64", "modrr": "",
	"d64": "", "f64": "", "n64": "", "z": "", "y": "", "v": "", "a64": "",
}

// takeFixed reads the attribute fixed=N.
func (r *row) takeFixed() error {
	for i, a := range r.attrs {
		if s, ok := strings.CutPrefix(a, "fixed="); ok {
			n, err := strconv.ParseUint(s, 10, 8)
			if err != nil {
				return fmt.Errorf("attribute %q: %w", a, err)
			}
			r.fixed = int(n)
			r.attrs = slices.Delete(r.attrs, i, i+1)
			return nil
		}
	}
	return nil
}

func (r *row) has(attr string) bool { return slices.Contains(r.attrs, attr) }

func (r *row) checkAttrs() error {
	for _, a := range r.attrs {
		if _, ok := attrConst[a]; !ok {
			return fmt.Errorf("attribute %q is unknown", a)
		}
	}
	r.deriveAttrs()
	if r.has("lock") && !r.isArg(0, "ArgRM") && !r.isArg(0, "ArgMem") {
		return fmt.Errorf("lock needs a memory destination, have %s", r.args[0].kind)
	}
	if r.has("fallback") && r.sets[fieldPfx] != 1<<2 {
		return fmt.Errorf("fallback needs prefix F3")
	}
	return nil
}

// deriveAttrs adds the state attributes that the operands and features imply.
func (r *row) deriveAttrs() {
	add := func(a string) {
		if !r.has(a) {
			r.attrs = append(r.attrs, a)
		}
	}
	for _, a := range r.args {
		switch {
		case strings.HasPrefix(a.kind, "ArgMM"):
			add("mmx")
		case strings.HasPrefix(a.kind, "ArgX") && r.vex:
			add("avx")
		case strings.HasPrefix(a.kind, "ArgX"):
			add("sse")
		}
	}
	if r.cpuid == "fpu" {
		add("fpu")
	}
	if r.vex {
		add("noreal")
	}
}

func (r *row) isArg(i int, kind string) bool { return r.args[i].kind == kind }

// opSize picks how the operand size follows from prefixes and mode.
func (r *row) opSize() string {
	for _, w := range []struct{ attr, name string }{
		{"d64", "oszD64"},
		{"f64", "oszF64"},
		{"n64", "oszN64"},
		{"z", "oszZ"},
		{"y", "oszY"},
		{"v", "oszV"},
		{"a64", "oszA"},
	} {
		if r.has(w.attr) {
			return w.name
		}
	}
	for _, a := range r.args {
		if a.size == "SizeV" || a.size == "SizeZ" {
			return "oszV"
		}
	}
	if r.vex || r.sets[fieldPfx] != 0xf {
		return "oszY" // the prefixes select the encoding
	}
	return "oszV"
}
