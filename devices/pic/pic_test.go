package pic_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices/pic"
	"godwit/internal/testkit"
)

const (
	boot     = "m 0 11; m 1 20; m 1 4; m 1 1; s 0 11; s 1 28; s 1 2; s 1 1; "
	bootAEOI = "m 0 11; m 1 20; m 1 4; m 1 3; s 0 11; s 1 28; s 1 2; s 1 3; "
)

// newPIC understands "up N", "down N", "pulse N", "ack", and "m A0 HEX", "s A0 HEX" to
// write to the master and slave, "m A0" and "s A0" to read.
func newPIC() *testkit.Subject {
	w := &testkit.World{}
	p := pic.New(pic.Wiring{ID: "pic", INTR: w.Line("intr")})
	w.Dev = p
	s := &testkit.Subject{World: w, Dev: p, Windows: p.Windows()}
	num := func(s string, base int) int {
		n, err := strconv.ParseInt(s, base, 64)
		if err != nil {
			panic(err)
		}
		return int(n)
	}
	port := func(i int) func(a []string) string {
		return func(a []string) string {
			off := uint64(num(a[0], 16))
			if len(a) == 1 {
				return fmt.Sprintf("%x", s.Windows[i].Read(off, 1))
			}
			s.Windows[i].Write(off, 1, uint64(num(a[1], 16)))
			return ""
		}
	}
	s.Ops = map[string]func([]string) string{
		"up":    func(a []string) string { p.SetIRQ(num(a[0], 10), true); return "" },
		"down":  func(a []string) string { p.SetIRQ(num(a[0], 10), false); return "" },
		"pulse": func(a []string) string { l := p.Input(num(a[0], 10)); l.Set(false); l.Set(true); return "" },
		"ack":   func([]string) string { return fmt.Sprintf("%x", p.Ack()) },
		"m":     port(0),
		"s":     port(1),
	}
	return s
}

func TestPIC(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"silent before initialisation", "up 0; up 3; ? intr; m 1", "0 ff"},
		{"silent during initialisation", "m 0 11; m 1 20; up 1; ? intr; m 1 4; m 1 1; ? intr", "0 1"},
		{"edge", boot + "up 1; ? intr; ack; ? intr; m 0 20; ? intr; down 1; up 1; ? intr", "1 21 0 0 1"},
		{"no edge while high", boot + "up 1; ack; m 0 20; up 1; ? intr", "21 0"},
		{"an edge outlives its level", boot + "up 1; down 1; ? intr; ack", "1 21"},
		{"level", boot + "w ELCR1 20; up 5; ack; ? intr; m 0 20; ? intr; down 5; ? intr", "25 0 1 0"},
		{"ELCR keeps edges", boot + "w ELCR1 ff; w ELCR2 ff; r ELCR1; r ELCR2", "f8 de"},
		{"priority", boot + "up 5; up 3; up 4; ack; m 0 20; ack; m 0 20; ack", "23 24 25"},
		{"nesting", boot + "up 4; ack; up 5; ? intr; up 3; ? intr; ack; m 0 20; ? intr; m 0 20; ? intr", "24 0 1 23 0 1"},
		{"mask", boot + "m 1 2; up 1; ? intr; m 0; m 1 0; ? intr", "0 2 1"},
		{"spurious 7", boot + "w ELCR1 20; up 5; down 5; ack; m 0 b; m 0", "27 0"},
		{"slave", boot + "up 12; ? intr; ack; m 0 b; m 0; s 0 b; s 0", "1 2c 4 10"},
		{"slave nests after both EOIs", boot + "up 12; ack; up 8; ? intr; s 0 20; m 0 20; ? intr; ack", "2c 0 1 28"},
		{"spurious 15 keeps the master in service", boot + "up 12; s 1 ff; ? intr; ack; m 0 b; m 0; s 0 b; s 0", "1 2f 4 0"},
		{"special fully nested", "m 0 11; m 1 20; m 1 4; m 1 11; s 0 11; s 1 28; s 1 2; s 1 1; up 12; ack; up 8; ? intr; ack", "2c 1 28"},
		{"two on the slave", boot + "up 9; up 10; ack; s 0 20; m 0 20; ? intr; ack", "29 1 2a"},
		{"automatic EOI", bootAEOI + "up 1; up 3; ack; ack; m 0 b; m 0", "21 23 0"},
		{"automatic EOI through the slave", bootAEOI + "up 9; up 10; ack; ? intr; ack; ? intr", "29 1 2a 0"},
		{"rotate on automatic EOI", bootAEOI + "m 0 80; up 3; ack; pulse 3; pulse 4; ack; ack", "23 24 23"},
		{"specific EOI", boot + "up 3; ack; up 1; ack; m 0 63; m 0 b; m 0", "23 21 2"},
		{"non-specific EOI ends the highest", boot + "up 3; ack; up 1; ack; m 0 20; m 0 b; m 0", "23 21 8"},
		{"rotate on EOI", boot + "up 3; ack; m 0 a0; pulse 3; up 4; ack", "23 24"},
		{"rotate on specific EOI", boot + "up 3; ack; m 0 e3; pulse 3; up 4; ack", "23 24"},
		{"set priority", boot + "m 0 c4; up 1; up 5; ack", "25"},
		{"special mask mode", boot + "up 3; ack; m 1 8; up 5; ? intr; m 0 68; ? intr; ack; m 0 20; m 0 b; m 0", "23 0 1 25 8"},
		{"special mask mode off", boot + "up 3; ack; m 1 8; m 0 68; m 0 48; up 5; ? intr", "23 0"},
		{"read IRR and ISR", boot + "up 1; up 3; ack; m 0; m 0 b; m 0; m 0 a; m 0", "21 8 2 8"},
		{"poll", boot + "up 3; m 0 c; m 0; ? intr; m 0; m 0 b; m 0", "83 0 0 8"},
		{"poll nothing", boot + "m 0 c; m 0", "0"},
		{"poll the slave", boot + "up 12; s 0 c; s 0; ? intr", "84 1"},
		{"ICW1 clears", boot + "m 1 fe; up 1; m 0 11; m 1 20; m 1 4; m 1 1; m 1; m 0; ? intr", "0 0 0"},
		{"single, without ICW4", "m 0 12; m 1 40; up 2; up 4; ? intr; ack; m 1", "1 44 0"},
		{"the cascade is not an input", boot + "up 2; ? intr", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) { testkit.Script(t, newPIC(), tt.do, tt.want) })
	}
}

func TestInputsOutOfRange(t *testing.T) {
	w := &testkit.World{}
	p := pic.New(pic.Wiring{ID: "pic", INTR: w.Line("intr")})
	before := testkit.Encode(t, p)
	p.SetIRQ(-1, true)
	p.SetIRQ(16, true)
	assert.Equal(t, before, testkit.Encode(t, p))
}
