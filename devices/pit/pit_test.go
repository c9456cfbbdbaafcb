package pit_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/devices/pit"
	"godwit/devices/ticks"
	"godwit/internal/testkit"
)

// newPIT understands "c HEX" (control word), "w0 HEX" to "w2" and "r0" to "r2" for the
// counters, "g 0|1" for counter 2's gate, "out" for its output, and "t N": let N ticks
// of the timer's clock pass.
func newPIT() (*testkit.Subject, *pit.PIT) {
	w := &testkit.World{}
	p := pit.New(pit.Wiring{ID: "pit", IRQ: w.Line("irq"), Clock: w})
	w.Dev = p
	s := &testkit.Subject{World: w, Dev: p, Windows: p.Windows(), Ops: map[string]func([]string) string{}}
	regs, port61 := s.Windows[0].Handler, s.Windows[1].Handler
	hex := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	for i := range uint64(3) {
		s.Ops[fmt.Sprintf("w%d", i)] = func(a []string) string { regs.Write(i, 1, hex(a[0])); return "" }
		s.Ops[fmt.Sprintf("r%d", i)] = func([]string) string { return fmt.Sprintf("%x", regs.Read(i, 1)) }
	}
	s.Ops["c"] = func(a []string) string { regs.Write(3, 1, hex(a[0])); return "" }
	s.Ops["g"] = func(a []string) string { port61.Write(0, 1, hex(a[0])); return "" }
	s.Ops["out"] = func([]string) string { return fmt.Sprint(port61.Read(0, 1) >> 5 & 1) }
	s.Ops["t"] = func(a []string) string {
		n, _ := strconv.ParseUint(a[0], 10, 64)
		w.Advance(ticks.At(ticks.Of(w.Now(), pit.Hz)+n, pit.Hz) - w.Now())
		return ""
	}
	return s, p
}

// Counter 2 with its gate in port 61h. A count is loaded one clock after it was
// written [8254 Mode Definitions].
func TestModes(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"0: low until the count is over", "g 1; c 90; out; w2 4; t 4; out; t 1; out; r2; t 1; r2", "0 0 1 0 ff"},
		{"0: counts down", "g 1; c 90; w2 4; t 1; r2; t 1; r2; t 1; r2", "4 3 2"},
		{"0: gate holds", "g 1; c 90; w2 4; t 2; g 0; t 50; r2; out; g 1; t 2; r2; out; t 1; out", "3 0 1 0 1"},
		{"0: a new count starts over", "g 1; c 90; w2 4; t 9; out; w2 3; out; t 4; out", "1 0 1"},
		{"0: the first of two bytes stops", "g 1; c b0; w2 4; w2 0; t 9; out; w2 2; out; t 9; out; w2 0; t 3; out", "1 0 0 1"},
		{"1: the gate triggers", "c 92; w2 3; out; t 9; out; g 1; t 1; out; t 2; out; t 1; out", "1 1 0 0 1"},
		{"1: triggers again", "c 92; w2 3; g 1; t 3; out; g 0; g 1; t 3; out; t 1; out", "0 0 1"},
		{"1: a new count waits for the trigger", "c 92; w2 3; g 1; t 2; w2 5; t 2; out; g 0; g 1; t 5; out; t 1; out", "1 0 1"},
		{"2: one low clock per period", "g 1; c 94; w2 3; t 1; out; r2; t 1; out; r2; t 1; out; r2; t 1; out; r2", "1 3 1 2 0 1 1 3"},
		{"2: gate low forces high, rising reloads", "g 1; c 94; w2 3; t 3; out; g 0; out; t 7; g 1; t 1; r2; out; t 2; out", "0 1 3 1 0"},
		{"2: a new count waits for the period's end", "g 1; c 94; w2 4; t 2; r2; w2 9; t 1; r2; t 1; r2; t 1; r2", "3 2 1 9"},
		{"3: square wave, even", "g 1; c 96; w2 4; t 1; r2; out; t 1; r2; out; t 1; r2; out; t 1; r2; out; t 1; out", "4 1 2 1 4 0 2 0 1"},
		{"3: square wave, odd", "g 1; c 96; w2 5; t 1; out; r2; t 2; out; t 1; out; r2; t 1; out; t 1; out", "1 4 1 0 4 0 1"},
		{"3: a new count waits for the half's end", "g 1; c 96; w2 4; t 2; w2 8; t 1; out; r2; t 3; out; t 1; out", "0 8 0 1"},
		{"4: one low clock", "g 1; c 98; w2 3; t 1; out; t 2; out; t 1; out; t 1; out; t 70000; out", "1 1 0 1 1"},
		{"4: gate holds", "g 1; c 98; w2 3; t 2; g 0; t 9; g 1; t 1; out; t 1; out", "1 0"},
		{"5: the gate triggers the strobe", "c 9a; w2 2; t 9; out; g 1; t 2; out; t 1; out; t 1; out", "1 1 0 1"},
		{"6 and 7 are 2 and 3", "c 9c; c e8; r2; c 9e; c e8; r2", "d4 d6"},
		{"BCD", "g 1; c b1; w2 0; w2 10; t 1; c 80; r2; r2; t 1; c 80; r2; r2", "0 10 99 9"},
		{"BCD 0 is 10000", "g 1; c b1; w2 0; w2 0; t 2; r2; r2; t 9999; out", "99 99 1"},
		{"0 is 65536", "g 1; c b0; w2 0; w2 0; t 2; r2; r2; t 65534; out; t 1; out", "ff ff 0 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newPIT()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func TestReadingCounters(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"latch holds", "g 1; c b0; w2 34; w2 12; t 1; c 80; t 5; r2; r2; r2; r2", "34 12 2f 12"},
		{"second latch is ignored", "g 1; c b0; w2 34; w2 12; t 1; c 80; t 5; c 80; r2; r2", "34 12"},
		{"high byte only", "g 1; c a0; w2 12; t 1; r2; c 80; r2", "12 12"},
		{"read-back count and status", "g 1; c b4; w2 34; w2 12; t 1; c c8; t 1; r2; r2; r2", "b4 34 12"},
		{"status only", "g 1; c b0; c e8; r2; w2 9; w2 0; c e8; r2; t 1; c e8; r2; t 9; c e8; r2", "70 70 30 b0"},
		{"count only", "g 1; c b0; w2 9; w2 0; t 1; c d8; r2; r2", "9 0"},
		{"several counters", "c 34; c 74; c ee; r0; r1; r2", "f4 f4 70"},
		{"the control word cannot be read", "r CONTROL", "ff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newPIT()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

// edges counts rising edges of the interrupt line.
func edges(w *testkit.World) int {
	return strings.Count(strings.Join(w.Take(), " "), "irq=true")
}

func TestPeriodicInterruptDoesNotDrift(t *testing.T) {
	for _, mode := range []string{"34", "36"} {
		s, _ := newPIT()
		testkit.Script(t, s, "c "+mode+"; w0 9c; w0 2e", "") // 11932: 100 Hz
		s.World.Take()
		s.World.Advance(100e9)
		assert.Equal(t, pit.Hz*100/11932, edges(s.World), "mode %s", mode)
	}
}

func TestInterruptShapes(t *testing.T) {
	for _, tt := range []struct {
		name, do string
		skip     devices.Nanos
		want     int
	}{
		{"mode 0 once", "c 30; w0 10; w0 0", 1e9, 1},
		{"mode 4 once", "c 38; w0 10; w0 0", 1e9, 1},
		{"mode 0 not before", "c 30; w0 ff; w0 ff", 50e6, 0},
		{"mode 1 never: its gate is tied", "c 32; w0 10; w0 0", 1e9, 0},
	} {
		s, _ := newPIT()
		testkit.Script(t, s, tt.do, "")
		s.World.Take()
		s.World.Advance(tt.skip)
		assert.Equal(t, tt.want, edges(s.World), tt.name)
	}
}

func TestLostTicksAreOneAndKeepThePhase(t *testing.T) {
	s, _ := newPIT()
	testkit.Script(t, s, "c 34; w0 9c; w0 2e", "")
	s.World.Take()
	s.World.Skip(1e9)
	assert.Equal(t, 1, edges(s.World), "one edge for a hundred periods")
	due, ok := s.World.Due(0)
	require.True(t, ok)
	assert.Equal(t, ticks.At(1+100*11932, pit.Hz), due, "the next one is in phase")
}

func TestNewPeriodTakesOverAtTheEnd(t *testing.T) {
	s, _ := newPIT()
	testkit.Script(t, s, "c 34; w0 0; w0 10; t 100; w0 0; w0 20", "")
	s.World.Take()
	testkit.Script(t, s, "t 3996; ? irq", "1")
	require.Equal(t, 0, edges(s.World))
	testkit.Script(t, s, "t 1", "")
	assert.Equal(t, 1, edges(s.World), "the old period ends at 1+4096")
	testkit.Script(t, s, "t 8191", "")
	require.Equal(t, 0, edges(s.World))
	testkit.Script(t, s, "t 1", "")
	assert.Equal(t, 1, edges(s.World), "the new one is 8192")
}

func TestPort61(t *testing.T) {
	s, _ := newPIT()
	testkit.Script(t, s, "w NMISC ff; r NMISC; t 18; r NMISC; t 17; r NMISC; t 1; r NMISC", "f 1f 1f f")
}

// Linux measures the TSC against counter 2 in mode 0 through OUT2
// (tsc.c pit_calibrate_tsc): 50 ms within one clock.
func TestCalibrationLoop(t *testing.T) {
	s, _ := newPIT()
	testkit.Script(t, s, "w NMISC 1; c b0; w2 0b; w2 e9", "") // 59659 ticks
	start := s.World.Now()
	for i := 0; ; i++ {
		require.Less(t, i, 60000, "OUT2 never rises")
		if s.Windows[1].Read(0, 1)&0x20 != 0 {
			break
		}
		s.World.Advance(1000)
	}
	assert.InDelta(t, 50e6, int64(s.World.Now()-start), 2000)
}
