package hpet_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices"
	"godwit/devices/hpet"
	"godwit/internal/testkit"
)

func newHPET() (*testkit.Subject, *hpet.HPET) {
	w := &testkit.World{}
	h := hpet.New(hpet.Wiring{ID: "hpet0", Clock: w, Timer: w.Line("irq0"), RTC: w.Line("irq8")})
	w.Dev = h
	set := func(n int) func([]string) string {
		return func(a []string) string { h.Input(n).Set(a[0] == "1"); return "" }
	}
	return &testkit.Subject{World: w, Dev: h, Windows: h.Windows(), Ops: map[string]func([]string) string{
		"pit": set(0), "rtc": set(1),
		"drop": func([]string) string { w.Take(); return "" },
		"edges": func([]string) string { // rising edges of IRQ 0 since the last log
			n := 0
			for _, l := range w.Take() {
				if l == "irq0=true" {
					n++
				}
			}
			return string(rune('0' + n))
		},
	}}, h
}

func TestTimers(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"counter stands still", "+1s; r MAIN_CNT", "0"},
		{"counter runs", "w GEN_CONF 1; +1s; r MAIN_CNT", "5f5e100"},
		{"and stops", "+5us; w GEN_CONF 1; +1us; w GEN_CONF 0; +1us; r MAIN_CNT; w GEN_CONF 1; +1us; r MAIN_CNT", "64 c8"},
		{"counter is written while it stands", "w MAIN_CNT 1000; w GEN_CONF 1; w MAIN_CNT 5; +1us; r MAIN_CNT", "1064"},
		{"one shot", "w GEN_CONF 3; w T0_CONF 4; w T0_COMP 64; +999; ? irq0; +1; ? irq0; +1s; edges", "0 1 1"},
		{"not enabled", "w GEN_CONF 3; w T0_COMP 64; +1us; ? irq0; r GINTR_STA", "0 0"},
		{"level", "w GEN_CONF 3; w T0_CONF 6; w T0_COMP 64; +1us; ? irq0; r GINTR_STA; w GINTR_STA 1; ? irq0", "1 1 0"},
		{"again", "w GEN_CONF 3; w T0_CONF 4; w T0_COMP 64; +1us; w T0_COMP c8; +1us; edges", "2"},
		{"too late", "w GEN_CONF 3; w T0_CONF 4; +1us; w T0_COMP 63; +1s; edges", "0"},
		{"32 bits turn over", "w MAIN_CNT fffffff0; w T0_CONF 104; w T0_COMP 4; w GEN_CONF 3; +199; edges; +1; edges", "0 1"},
		{"and come again", "w T0_CONF 104; w T0_COMP 64; w GEN_CONF 3; +43s; edges", "2"},
		{"32 bits cut the comparator", "w T0_CONF 104; w T0_COMP 123456789a; r T0_COMP", "3456789a"},
		{"periodic as Linux sets it up", "w GEN_CONF 3; +1us; w T0_CONF 14c; w T0_COMP 12c; +1us; w T0_COMP c8; +1us; edges; +1999; edges; +1; edges; r T0_COMP", "1 0 1 2bc"},
		{"periodic coalesces", "w GEN_CONF 3; w T0_CONF 4c; w T0_COMP 3e8; >105us; edges; r T0_COMP", "1 2af8"},
		{"period alone", "w GEN_CONF 3; w T0_CONF 4c; w T0_COMP 64; w T0_COMP c8; +1us; r T0_COMP", "12c"},
		{"period 0", "w GEN_CONF 3; w T0_CONF 4c; w T0_COMP 64; w T0_COMP 0; +1s; edges; r T0_COMP", "1 64"},
		{"stopping withdraws", "w GEN_CONF 3; w T0_CONF 4; w T0_COMP 64; w GEN_CONF 2; +1s; edges", "0"},
		{"disabling lets go", "w GEN_CONF 3; w T0_CONF 4; w T0_COMP 64; +1us; w T0_CONF 0; ? irq0", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newHPET()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func TestRouting(t *testing.T) {
	for _, tt := range []struct{ name, do, want string }{
		{"others' interrupts pass", "pit 1; ? irq0; ? irq8; rtc 1; ? irq8; pit 0; ? irq0", "1 0 1 0"},
		{"but not in legacy routing", "w GEN_CONF 3; pit 1; rtc 1; ? irq0; ? irq8; w GEN_CONF 1; ? irq0; ? irq8", "0 0 1 1"},
		{"which needs the counter", "w GEN_CONF 2; pit 1; ? irq0", "1"},
		{"timer 1 is the RTC", "w GEN_CONF 3; w T1_CONF 4; w T1_COMP 64; +1us; ? irq0; ? irq8", "0 1"},
		{"timer 2 goes where it is told", "w GEN_CONF 3; w T2_CONF 1004; w T2_COMP 64; +1us; ? irq8", "1"},
		{"or nowhere", "w GEN_CONF 3; w T2_CONF 404; w T2_COMP 64; +1us; ? irq0; ? irq8", "0 0"},
		{"timer 0 without legacy routing", "w GEN_CONF 1; w T0_CONF 1004; w T0_COMP 64; +1us; ? irq0; ? irq8", "0 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newHPET()
			testkit.Script(t, s, tt.do, tt.want)
		})
	}
}

func TestWidths(t *testing.T) {
	_, h := newHPET()
	assert.EqualValues(t, 10_000_000, h.Read(4, 4), "femtoseconds")
	assert.EqualValues(t, 0x8086a201, h.Read(0, 4), "as the ACPI table says")
	h.Write(0xf0, 4, 0x11111111)
	h.Write(0xf4, 4, 0x22222222)
	assert.EqualValues(t, 0x2222222211111111, h.Read(0xf0, 8))
	h.Write(0xf0, 2, 0)
	h.Write(0xf2, 4, 0)
	assert.EqualValues(t, 0x2222222211111111, h.Read(0xf0, 8))
	h.Write(0x104, 4, ^uint64(0))
	assert.EqualValues(t, 0x100, h.Read(0x104, 4), "routes are fixed")
	assert.Zero(t, h.Read(0x3f8, 8))
}

func TestRestored(t *testing.T) {
	s, h := newHPET()
	testkit.Script(t, s, "w T0_CONF 104; w T0_COMP 64", "")
	assert.NoError(t, h.Restored())
	h.Timer[0].Comp = 1 << 32
	assert.ErrorContains(t, h.Restored(), "timer 0: comparator 0x100000000")
	h.Reset(devices.PowerOn)
	h.Sta = 8
	assert.ErrorContains(t, h.Restored(), "GINTR_STA 0x8")
}
