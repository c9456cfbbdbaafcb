package acpipm_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices"
	"godwit/devices/acpipm"
	"godwit/devices/ticks"
	"godwit/internal/testkit"
)

type power struct{ w *testkit.World }

func (p power) PowerOff()       { p.w.Logf("off") }
func (p power) Sleep(typ uint8) { p.w.Logf("sleep %d", typ) }
func (p power) Reset(full bool) { p.w.Logf("reset %t", full) }

func newPM() (*testkit.Subject, *acpipm.PM) {
	w := &testkit.World{}
	p := acpipm.New(acpipm.Wiring{ID: "acpipm", SCI: w.Line("sci"), Clock: w, Power: power{w}})
	w.Dev = p
	op := func(f func()) func([]string) string { return func([]string) string { f(); return "" } }
	return &testkit.Subject{World: w, Dev: p, Windows: p.Windows(), Ops: map[string]func([]string) string{
		"press": op(p.Press),
		"wake":  op(p.Wake),
		"alarm": op(p.RTCAlarm),
		"gpe3":  op(func() { p.GPE(3) }),
	}}, p
}

func TestPM(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"ACPI is off", "r PM1_CNT; w PM1_EN 100; press; r PM1_STS; ? sci", "0 100 0"},
		{"turning it on", "w PM1_EN 100; press; w APMC f1; r PM1_CNT; ? sci; w APMC f0; r PM1_CNT; ? sci", "1 1 0 0"},
		{"power button", "w APMC f1; w PM1_EN 100; press; ? sci; w PM1_STS 100; ? sci; r PM1_STS", "1 0 0"},
		{"writing zeros clears nothing", "press; w PM1_STS feff; r PM1_STS", "100"},
		{"wake and alarm", "wake; alarm; r PM1_STS", "8400"},
		{"general-purpose event", "w APMC f1; gpe3; ? sci; w GPE0_EN 8; ? sci; r GPE0_STS; w GPE0_STS 8; ? sci", "0 1 8 0"},
		{"S5", "w PM1_CNT 2001; log", "[off]"},
		{"type first, then enable", "w PM1_CNT 400; log; w PM1_CNT 2400; log; r PM1_CNT", "[] [sleep 1] 400"},
		{"S4", "w PM1_CNT 2800; log", "[sleep 2]"},
		{"reset", "w RST_CNT 2; log; w RST_CNT 6; log; r RST_CNT; w RST_CNT 6; log", "[] [reset true] 6 []"},
		{"soft reset", "w RST_CNT 4; log", "[reset false]"},
		{"timer rate", "+1s; r PM_TMR; +4s; r PM_TMR", "369e99 1118fd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newPM()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func TestTimerCarry(t *testing.T) {
	half := ticks.At(1<<23, acpipm.TimerHz) // the top bit of 24 changes
	for _, tt := range []struct {
		name string
		wait devices.Nanos
		do   string
		want string
	}{
		{"not before", half - 1, "? sci; r PM1_STS", "0 0"},
		{"on the clock", half, "? sci; r PM1_STS; r PM_TMR", "1 1 800000"},
		{"acknowledged", half, "w PM1_STS 1; ? sci; r PM1_STS", "0 0"},
		{"and again when it falls", 2 * half, "w PM1_STS 1; r PM1_STS; +2s; ? sci; +1s; ? sci", "0 0 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newPM()
			testkit.Script(t, s, "w PM1_EN 1; w APMC f1", "")
			s.World.Advance(tt.wait)
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
	s, _ := newPM()
	_, armed := s.World.Due(0)
	assert.False(t, armed, "a timer that cannot interrupt costs no events")
	s.World.Advance(half)
	testkit.Script(t, s, "r PM1_STS", "1")
}

func TestAccessWidths(t *testing.T) {
	s, p := newPM()
	p.Press()
	pm1, rst := s.Windows[0].Handler, s.Windows[3].Handler
	assert.EqualValues(t, 0x01, pm1.Read(1, 1), "high byte of PM1_STS")
	pm1.Write(0, 4, 0x0120_0100)
	assert.EqualValues(t, 0x0120_0000, pm1.Read(0, 4), "status and enables in one access")
	pm1.Write(5, 1, 0x24)
	assert.Contains(t, s.World.Take(), "sleep 1", "SLP_EN by a byte write")
	rst.Write(0, 4, 0x06)
	assert.Empty(t, s.World.Take(), "only a byte write reaches the reset port")
	assert.EqualValues(t, 0xffff, rst.Read(0, 2))
}
