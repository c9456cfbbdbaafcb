package ioapic_test

import (
	"fmt"
	"strconv"
	"testing"

	"godwit/devices/ioapic"
	"godwit/internal/testkit"
)

type msgs struct{ w *testkit.World }

func (m msgs) MSI(addr uint64, data uint32) { m.w.Logf("%x %x", addr, data) }

// newIOAPIC understands "e N HEX" (write entry N), "e N" (read it), "i HEX" (read an
// indexed register), "up N", "down N" and "eoi HEX".
func newIOAPIC() *testkit.Subject {
	w := &testkit.World{}
	a := ioapic.New(ioapic.Wiring{ID: "ioapic", Bus: msgs{w}})
	w.Dev = a
	num := func(s string, base int) uint64 {
		n, err := strconv.ParseUint(s, base, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	read := func(r uint64) uint64 { a.Write(0, 4, r); return a.Read(0x10, 4) }
	return &testkit.Subject{World: w, Dev: a, Windows: a.Windows(), Ops: map[string]func([]string) string{
		"e": func(f []string) string {
			r := 0x10 + 2*num(f[0], 10)
			if len(f) == 1 {
				return fmt.Sprintf("%x", read(r)|read(r+1)<<32)
			}
			a.Write(0, 1, r+1)
			a.Write(0x10, 4, num(f[1], 16)>>32)
			a.Write(0, 1, r)
			a.Write(0x10, 4, num(f[1], 16)&0xffffffff)
			return ""
		},
		"i":    func(f []string) string { return fmt.Sprintf("%x", read(num(f[0], 16))) },
		"wi":   func(f []string) string { a.Write(0, 4, num(f[0], 16)); a.Write(0x10, 4, num(f[1], 16)); return "" },
		"up":   func(f []string) string { a.Input(int(num(f[0], 10))).Set(true); return "" },
		"down": func(f []string) string { a.Input(int(num(f[0], 10))).Set(false); return "" },
		"eoi":  func(f []string) string { a.EOI(uint8(num(f[0], 16))); return "" },
	}}
}

func TestIOAPIC(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"registers", "i 0; i 1; i 2; i 3; i 40; e 0; e 23", "0 170020 0 0 0 10000 10000"},
		{"id", "wi 0 ffffffff; i 0; i 2", "f000000 f000000"},
		{"edge", "e 4 0300000000000031; up 4; log; up 4; log; down 4; up 4; log", "[fee03000 4031] [] [fee03000 4031]"},
		{"logical, lowest priority", "e 4 ff00000000000931; up 4; log", "[feeff004 4131]"},
		{"masked edges are lost", "up 2; e 2 30; log; down 2; up 2; log", "[] [fee00000 4030]"},
		{
			"level", "e 9 8029; up 9; log; e 9; up 9; log; eoi 29; log; e 9; down 9; eoi 29; log; e 9",
			"[fee00000 c029] c029 [] [fee00000 c029] c029 [] 8029",
		},
		{"unmasking a high level", "e 9 18029; up 9; log; e 9 8029; log", "[] [fee00000 c029]"},
		{"EOI of another vector", "e 9 8029; up 9; log; eoi 30; log; e 9", "[fee00000 c029] [] c029"},
		{
			"EOI reaches all entries of a vector", "e 9 8029; e 10 8029; up 9; up 10; log; eoi 29; log",
			"[fee00000 c029, fee00000 c029] [fee00000 c029, fee00000 c029]",
		},
		{"EOI register", "e 9 8029; up 9; log; w EOI 29; log", "[fee00000 c029] [fee00000 c029]"},
		{"remote IRR cannot be written", "e 9 1c029; e 9", "18029"},
		{"edge mode drops remote IRR", "e 9 8029; up 9; log; e 9 10029; e 9; e 9 18029; e 9", "[fee00000 c029] 10029 18029"},
		{"reserved bits", "e 5 ffffffffffffffff; e 5", "ff0000000001afff"},
		{"NMI and ExtINT", "e 0 700; e 1 400; up 0; up 1; log", "[fee00000 4700, fee00000 4400]"},
		{"inputs out of range", "up 24; log", "[]"},
	} {
		t.Run(tt.name, func(t *testing.T) { testkit.Script(t, newIOAPIC(), tt.do, tt.want) })
	}
}
