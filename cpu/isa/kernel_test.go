package isa

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/arch/x86/x86asm"
)

// objdumpEach calls f with each instruction of a file's section as GNU objdump
// shows it; a whole kernel does not fit into memory comfortably.
func objdumpEach(t *testing.T, file, section string, f func(l *objdumpLine)) {
	cmd := exec.Command("objdump", "-w", "-z", "-d", "-M", "intel64", "-j", section, file)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		if l, ok := parseLine(sc.Text()); ok {
			f(&l)
		}
	}
	require.NoError(t, sc.Err())
	require.NoError(t, cmd.Wait())
}

func parseLine(s string) (l objdumpLine, ok bool) {
	f := strings.SplitN(s, "\t", 3)
	if len(f) < 2 || !strings.HasSuffix(f[0], ":") {
		return l, false
	}
	pc, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(f[0], ":")), 16, 64)
	if err != nil {
		return l, false
	}
	code, err := hex.DecodeString(strings.ReplaceAll(f[1], " ", ""))
	if err != nil {
		return l, false
	}
	l = objdumpLine{pc: pc, code: code}
	if len(f) == 3 {
		text, _, _ := strings.Cut(f[2], "#")
		l.text = strings.TrimSpace(text)
	}
	return l, true
}

// dataRE finds what no compiler writes: tables of constants read as code.
var dataRE = regexp.MustCompile(`\(bad\)|^rex|lock lock|%\?|^(lock|data16|repn?z|[c-g]s) *$|^lock (lods|mov|rex)|repnz lock|,%cs$|8087 only|,p[nt] `)

var newRE = regexp.MustCompile(`%k[0-7]|gf2p8`)

// notOurs are instructions in a kernel that the table lacks, so that they are
// #UD, and what objdump takes for one instruction.
var notOurs = map[string]string{
	"pvalidate": "memory encryption", "rmpadjust": "memory encryption", "tilerelease": "AMX",
	"finit": "FWAIT and FNINIT",
}

// tally counts what a comparison found.
type tally struct {
	same, evex, bad, theirs int
	wrong                   []string
}

// compare checks one instruction of objdump's against our decoder, and our
// decoder against x86asm.
func (y *tally) compare(l *objdumpLine) {
	switch {
	case dataRE.MatchString(l.text):
		y.bad++ // tables between functions
		return
	case l.code[0] == 0x62 || notOurs[l.text] != "" || newRE.MatchString(l.text) || l.code[0] == 0x8f && l.code[1]&31 >= 8:
		y.evex++ // AVX-512, GFNI and AMD's XOP, which the table does not have
		return
	}
	var in Inst
	if Decode(l.code, Mode64, &in) != OK || int(in.Len) != len(l.code) {
		y.wrong = append(y.wrong, strconv.FormatUint(l.pc, 16)+": "+hex.EncodeToString(l.code)+" "+l.text)
		return
	}
	if otherText[in.Op] == "" && normal(l.text) != normal(in.Text(l.pc)) {
		y.wrong = append(y.wrong, strconv.FormatUint(l.pc, 16)+": "+l.text+", ours: "+in.Text(l.pc))
		return
	}
	y.same++
	theirs, err := x86asm.Decode(l.code, 64)
	if x86asmWrong(l.code, &in, theirs, err) == "" {
		y.theirs++
		if theirs.Len != len(l.code) {
			y.wrong = append(y.wrong, strconv.FormatUint(l.pc, 16)+": "+l.text+", x86asm: "+theirs.String())
		}
	}
}

// TestLibrariesAgainstObjdump: code of which every byte is an instruction.
func TestLibrariesAgainstObjdump(t *testing.T) {
	needTool(t, "objdump")
	for _, file := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/bin/bash"} {
		if _, err := os.Stat(file); err != nil {
			t.Logf("%s is missing", file)
			continue
		}
		var y tally
		objdumpEach(t, file, ".text", y.compare)
		t.Logf("%s: %d agree, %d of AVX-512 and XOP, %d no code, %d by x86asm too", file, y.same, y.evex, y.bad, y.theirs)
		require.Empty(t, y.wrong[:min(len(y.wrong), 40)], "%d differences", len(y.wrong))
		require.Greater(t, y.same, 100000)
		require.Greater(t, y.theirs, y.same*8/10)
	}
}

// TestKernelAgainstObjdump disassembles all code of the kernel in the folder that
// GODWIT_GUESTS names.
func TestKernelAgainstObjdump(t *testing.T) {
	dir := os.Getenv("GODWIT_GUESTS")
	if dir == "" || os.Getenv("GODWIT_FULL") == "" {
		t.Skip("GODWIT_FULL and GODWIT_GUESTS, a folder with vmlinuz, ask for this test")
	}
	needTool(t, "objdump")
	image, err := os.ReadFile(filepath.Join(dir, "vmlinuz"))
	require.NoError(t, err)
	elf, err := vmlinux(image)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "vmlinux")
	require.NoError(t, os.WriteFile(file, elf, 0o600))
	var y tally
	for _, section := range []string{".text", ".init.text"} {
		objdumpEach(t, file, section, y.compare)
	}
	t.Logf("%d agree, %d of AVX-512 and XOP, %d no code, %d by x86asm too", y.same, y.evex, y.bad, y.theirs)
	require.Empty(t, y.wrong[:min(len(y.wrong), 20)], "%d differences", len(y.wrong))
	require.Greater(t, y.same, 1000000)
}

var errImage = errors.New("kernel image: no LZ4 payload")

// vmlinux unpacks the ELF file in a bzImage compressed with LZ4
// [Linux Documentation/arch/x86/boot.rst].
func vmlinux(image []byte) ([]byte, error) {
	le := binary.LittleEndian
	if len(image) < 0x250 {
		return nil, errImage
	}
	at := (uint64(image[0x1f1])+1)*512 + uint64(le.Uint32(image[0x248:]))
	n := uint64(le.Uint32(image[0x24c:]))
	if at+n > uint64(len(image)) || n < 8 || le.Uint32(image[at:]) != 0x184c2102 {
		return nil, errImage
	}
	var out []byte
	for p := image[at+4 : at+n-4]; len(p) >= 4; {
		size := le.Uint32(p)
		if uint64(size) > uint64(len(p)-4) {
			return nil, errImage
		}
		var err error
		if out, err = unLZ4(out, p[4:4+size]); err != nil {
			return nil, err
		}
		p = p[4+size:]
	}
	return out, nil
}

// unLZ4 appends the content of one LZ4 block.
func unLZ4(out, p []byte) ([]byte, error) {
	base := len(out)
	length := func(n int) int { // 15 goes on in further bytes
		for b := byte(255); n >= 15 && b == 255 && len(p) > 0; p = p[1:] {
			b = p[0]
			n += int(b)
		}
		return n
	}
	for len(p) > 0 {
		token := int(p[0])
		p = p[1:]
		n := token >> 4
		if n == 15 {
			n = length(n)
		}
		if n > len(p) {
			return nil, errImage
		}
		out, p = append(out, p[:n]...), p[n:]
		if len(p) < 2 {
			break // the last sequence has literals only
		}
		back := int(p[0]) | int(p[1])<<8
		p = p[2:]
		n = token & 15
		if n == 15 {
			n = length(n)
		}
		if back == 0 || back > len(out)-base {
			return nil, errImage
		}
		for n += 4; n > 0; n-- {
			out = append(out, out[len(out)-back])
		}
	}
	return out, nil
}
