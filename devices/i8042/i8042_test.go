package i8042_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices/i8042"
	"godwit/internal/testkit"
)

type chassis struct{ w *testkit.World }

func (c chassis) Reset(bool)  { c.w.Logf("reset") }
func (c chassis) A20(on bool) { c.w.Logf("a20=%t", on) }

// newController understands "c HEX" (command), "d HEX" (data), "k HEX..." and "m HEX..."
// (bytes to keyboard and mouse, then all answers) and "all" (all answers).
func newController() *testkit.Subject {
	w := &testkit.World{}
	c := i8042.New(i8042.Wiring{ID: "i8042", KeyIRQ: w.Line("irq1"), AuxIRQ: w.Line("irq12"), Chassis: chassis{w}})
	w.Dev = c
	s := &testkit.Subject{World: w, Dev: c, Windows: c.Windows()}
	hex := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 16, 8)
		if err != nil {
			panic(err)
		}
		return n
	}
	data, cmd := s.Windows[0].Handler, s.Windows[1].Handler
	all := func([]string) string {
		out := ""
		for cmd.Read(0, 1)&1 != 0 {
			out += fmt.Sprintf("%02x", data.Read(0, 1))
		}
		return "[" + out + "]"
	}
	s.Ops = map[string]func([]string) string{
		"c":   func(a []string) string { cmd.Write(0, 1, hex(a[0])); return "" },
		"d":   func(a []string) string { data.Write(0, 1, hex(a[0])); return "" },
		"all": all,
		"k": func(a []string) string {
			for _, b := range a {
				data.Write(0, 1, hex(b))
			}
			return all(nil)
		},
		"m": func(a []string) string {
			for _, b := range a {
				cmd.Write(0, 1, 0xd4)
				data.Write(0, 1, hex(b))
			}
			return all(nil)
		},
	}
	return s
}

func TestController(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"as firmware leaves it", "r STATUS; c 20; all", "1c [65]"},
		{"self test", "c aa; r STATUS; r DATA; r STATUS", "1d 55 1c"},
		{"port tests", "c ab; all; c a9; all; c a4; all", "[00] [00] [f1]"},
		{"configuration", "c 60; d 47; c 20; all", "[47]"},
		{"RAM", "c 7f; d 12; c 3f; all", "[12]"},
		{"SYS is in the status", "c 60; d 0; r STATUS", "10"},
		{"AUX on and off", "c a8; c 20; all; c a7; c 20; all", "[45] [65]"},
		{"keyboard on and off", "c ad; c 20; all; c ae; c 20; all", "[75] [65]"},
		{"Linux' AUX loop test", "c d3; d 5a; r STATUS; all; c d3; d a5; all", "35 [5a] [a5]"},
		{"write as the keyboard", "c d2; d 5a; r STATUS; all", "15 [5a]"},
		{"output port", "c d0; all; log; c d1; d dd; c d0; all; log", "[c3] [irq1=true, irq1=false] [cd] [a20=false, irq1=true, irq1=false]"},
		{"A20 by command", "c dd; r P92; c df; r P92; log", "0 2 [a20=false, a20=true]"},
		{"reset pulse", "c fe; log; c ff; log", "[reset] []"},
		{"reset by the output port", "c d1; d 2; log", "[a20=true, reset]"},
		{"port 92", "w P92 0; r P92; w P92 3; w P92 3; r P92; log", "0 3 [a20=false, a20=true, reset, a20=true]"},
		{"a command forgets an unfinished one", "c 60; c 20; d 47; all", "[65fe]"},
		{"an empty buffer repeats", "c aa; r DATA; r DATA", "55 55"},
		{"unknown commands", "c 1; c ba; r STATUS", "1c"},
	} {
		t.Run(tt.name, func(t *testing.T) { testkit.Script(t, newController(), tt.do, tt.want) })
	}
}

func TestKeyboard(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"reset", "k ff", "[faaa]"},
		{"identify, translated", "k f2", "[faab41]"},
		{"identify, raw", "c 60; d 5; k f2", "[faab83]"},
		{"LEDs", "k ed 7", "[fafa]"},
		{"a command instead of the parameter", "k ed f4 2", "[fafafe]"},
		{"scan code set", "c 60; d 5; k f0 0; k f0 3; k f0 0; k f0 4", "[fafa02] [fafa] [fafa03] [fafe]"},
		{"rate, enable, defaults, disable", "k f3 20 f4 f6 f5", "[fafafafafa]"},
		{"echo and resend", "k ee fe 0", "[eeeefe]"},
		{"disabled: answers wait, and writing enables", "c ad; c 20; d f2; all", "[75faab41]"},
		{"held back while off", "d ff; c ad; r DATA; r STATUS; c ae; all", "fa 1c [aa]"},
		{
			"interrupt", "c 60; d 5; ? irq1; d ff; log; r DATA; log; r DATA; ? irq1",
			"0 [irq1=true] fa [irq1=false, irq1=true] aa 0",
		},
		{"no interrupt unless enabled", "c 60; d 4; d ff; ? irq1; r STATUS", "0 15"},
		{"overrun loses", "k ee ee ee ee ee ee ee ee ee ee ee ee ee ee ee ee ee ee ee ee", "[eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee]"},
	} {
		t.Run(tt.name, func(t *testing.T) { testkit.Script(t, newController(), tt.do, tt.want) })
	}
}

func TestMouse(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"reset", "m ff", "[faaa00]"},
		{"identify", "m f2", "[fa00]"},
		{"status", "m e9; m e8 3 f3 28 e7 f4 f0; m e9", "[fa000264] [fafafafafafafa] [fa700328]"},
		{"wheel knock is not answered with a wheel", "m f3 c8 f3 64 f3 50 f2", "[fafafafafafafa00]"},
		{"read data", "m eb", "[fa080000]"},
		{"wrap mode", "m ee 12 f2 ec f2", "[fa12f2fafa00]"},
		{"unknown", "m 1 fe", "[fefe]"},
		{"interrupt", "c 60; d 47; c d4; d f2; r STATUS; log; r DATA; log; all; ? irq12", "35 [irq12=true] fa [irq12=false, irq12=true] [00] 0"},
		{"the keyboard goes first", "c d4; d f2; d ee; r DATA; r DATA; r DATA", "fa ee 0"},
		{"talking to it switches it on", "m f6; c 20; all", "[fa] [45]"},
	} {
		t.Run(tt.name, func(t *testing.T) { testkit.Script(t, newController(), tt.do, tt.want) })
	}
}

func TestWideReads(t *testing.T) {
	s := newController()
	assert.EqualValues(t, 0xffffff1c, s.Windows[1].Read(0, 4))
	assert.Equal(t, uint64(0xffffffffffffff1c), s.Windows[1].Read(0, 8))
}
