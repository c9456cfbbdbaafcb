package isa

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// objdumpLine is one instruction as GNU objdump shows it.
type objdumpLine struct {
	pc   uint64
	code []byte
	text string
}

// needTool skips a test without the tool, except in continuous integration.
func needTool(t *testing.T, name string) {
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", name)
	}
	t.Skipf("%s is missing", name)
}

func objdump(t *testing.T, args ...string) []objdumpLine {
	out, err := exec.Command("objdump", append([]string{"-w", "-z"}, args...)...).Output()
	require.NoError(t, err)
	var lines []objdumpLine
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		f := strings.SplitN(sc.Text(), "\t", 3)
		if len(f) < 2 || !strings.HasSuffix(f[0], ":") {
			continue
		}
		pc, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(f[0], ":")), 16, 64)
		if err != nil {
			continue
		}
		code, err := hex.DecodeString(strings.ReplaceAll(f[1], " ", ""))
		require.NoError(t, err)
		text := ""
		if len(f) == 3 {
			text, _, _ = strings.Cut(f[2], "#")
			text = strings.TrimSpace(text)
		}
		lines = append(lines, objdumpLine{pc, code, text})
	}
	return lines
}

var (
	symbolRE = regexp.MustCompile(` <[^>]*>$`)
	spaceRE  = regexp.MustCompile(`\s+`)
	targetRE = regexp.MustCompile(`^((?:j|call|loop|xbegin)\S*) ([0-9a-f]+)$`)
	// Prefixes without effect, which objdump shows and we do not.
	uselessRE = regexp.MustCompile(`^(data16|data32|addr16|addr32|cs|ds|es|ss|fs|gs|bnd|notrack|rex\S*|repz|repnz|rep) `)
	rizRE     = regexp.MustCompile(`,%[re]iz,[1248]`)
)

// normal is a line of objdump, or our text, without what legitimately differs.
func normal(s string) string {
	s = spaceRE.ReplaceAllString(symbolRE.ReplaceAllString(s, ""), " ")
	for uselessRE.MatchString(s) {
		s = uselessRE.ReplaceAllString(s, "")
	}
	s = targetRE.ReplaceAllString(strings.TrimSpace(s), "$1 0x$2")
	s = strings.ReplaceAll(s, "0x0(", "(")  // a displacement of 0
	s = strings.ReplaceAll(s, "%db", "%dr") // debug registers
	s = strings.ReplaceAll(s, "$0x1,", "")  // older versions leave a shift's 1 out
	s = rizRE.ReplaceAllString(s, "")       // no index
	return strings.ReplaceAll(s, "xchg %ax,%ax", "nop")
}

// otherText are operations whose text we write differently on purpose.
var otherText = map[Op]string{
	MOVTOSEG: "objdump names the register as wide as the operand size, which means nothing",
	LAR:      "as above", LSL: "as above", VMMCALL: "with F2 or F3 objdump calls it vmgexit",
	MONITOR: "objdump shows implied operands", MWAIT: "as above", MONITORX: "as above", MWAITX: "as above",
	PCLMULQDQ: "objdump has names for some immediates", VPCLMULQDQ: "as above",
	CMPPS: "as above", CMPPD: "as above", CMPSS: "as above", CMPSD: "as above",
	VCMPPS: "as above", VCMPPD: "as above", VCMPSS: "as above", VCMPSD: "as above",
}

func TestBinaryAgainstObjdump(t *testing.T) {
	needTool(t, "objdump")
	const binary = "/bin/bash"
	n := 0
	for _, l := range objdump(t, "-d", "-M", "intel64", binary) {
		if strings.Contains(l.text, "(bad)") {
			continue
		}
		n++
		var in Inst
		require.Equal(t, OK, Decode(l.code, Mode64, &in), "%x: % x %s", l.pc, l.code, l.text)
		require.Equal(t, len(l.code), int(in.Len), "%x: % x %s", l.pc, l.code, l.text)
		if otherText[in.Op] == "" {
			require.Equal(t, normal(l.text), normal(in.Text(l.pc)), "%x: % x", l.pc, l.code)
		}
	}
	require.Greater(t, n, 10000)
}

// TestSystematicAgainstObjdump lays every encoding that we decode end to end
// and expects objdump to see the same boundaries in each mode.
func TestSystematicAgainstObjdump(t *testing.T) {
	needTool(t, "objdump")
	for mode, name := range []string{"i8086", "i386", "x86-64,intel64"} {
		var stream []byte
		var want []int
		systematic(func(code []byte, m Mode) {
			var in Inst
			if m != Mode(mode) || Decode(code, m, &in) != OK || unlikeObjdump[in.Op] != "" {
				return
			}
			if m == Mode64 && cancelsRex(code) {
				return // objdump shows a REX prefix before another prefix as an instruction
			}
			want = append(want, len(stream))
			stream = append(stream, code[:in.Len]...)
		})
		file := filepath.Join(t.TempDir(), "code")
		require.NoError(t, os.WriteFile(file, stream, 0o600))
		starts := map[int]bool{}
		for _, l := range objdump(t, "-D", "-b", "binary", "-m", "i386", "-M", name, file) {
			starts[int(l.pc)] = true
		}
		for i, at := range want {
			if !starts[at] {
				t.Fatalf("%s: objdump disagrees about the length of % x", name, stream[want[max(i-1, 0)]:at])
			}
		}
		require.Greater(t, len(want), 50000)
	}
}

// unlikeObjdump are operations at which objdump 2.40 loses its step.
var unlikeObjdump = map[Op]string{
	FWAIT:  "objdump joins it with the x87 instruction that follows",
	SALC:   "objdump does not know it",
	NOP:    "objdump rejects reserved hint NOPs with prefixes of MPX, and 0F 0D with registers",
	SFENCE: "objdump does not know rm other than 0", LFENCE: "as above", MFENCE: "as above",
	BSF: "objdump rejects F2", BSR: "as above", WBINVD: "objdump rejects 66",
	MONITORX: "objdump rejects prefixes", MWAITX: "as above", CLZERO: "as above", RDTSCP: "as above",
}

// cancelsRex says whether a REX prefix of systematic is followed by a prefix.
func cancelsRex(code []byte) bool {
	for i, b := range code[:2] {
		if prefixes[b] == pfxRex && prefixes[code[i+1]] != pfxNone {
			return true
		}
	}
	return false
}
