package conform

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices"
	"godwit/devices/acpipm"
	"godwit/devices/ioapic"
	"godwit/devices/lapic"
	"godwit/devices/pic"
	"godwit/devices/pit"
	"godwit/devices/rtc"
)

// still is a machine around devices that costs nothing itself.
type still struct{ now devices.Nanos }

func (s *still) Now() devices.Nanos                { s.now += 8; return s.now }
func (s *still) At(devices.Nanos, devices.EventID) {}
func (s *still) Never(devices.EventID)             {}
func (s *still) Set(bool)                          {}
func (s *still) INTR(bool)                         {}
func (s *still) NMI()                              {}
func (s *still) Init()                             {}
func (s *still) SIPI(uint8)                        {}
func (s *still) Vector() uint8                     { return 0x30 }
func (s *still) Ack() uint8                        { return 0x30 }
func (s *still) TSC() uint64                       { return uint64(s.now) }
func (s *still) Time(t uint64) devices.Nanos       { return devices.Nanos(t) }
func (s *still) PowerOff()                         {}
func (s *still) Sleep(uint8)                       {}
func (s *still) Reset(bool)                        {}

// platform is the interrupt controllers and timers wired together.
type platform struct {
	pic    *pic.PIC
	ioapic *ioapic.IOAPIC
	lapic  *lapic.LAPIC
	pit    *pit.PIT
	pm     *acpipm.PM
	rtc    *rtc.RTC
}

func newPlatform() platform {
	s, b := &still{}, lapic.NewBus()
	var p platform
	p.pic = pic.New(pic.Wiring{ID: "pic", INTR: b.Input(0)})
	p.ioapic = ioapic.New(ioapic.Wiring{ID: "ioapic", Bus: b})
	b.OnEOI(p.ioapic)
	p.lapic = lapic.New(lapic.Wiring{ID: "lapic", BSP: true, PhysBits: 40, Core: s, Clock: s, TSC: s, PIC: p.pic, Bus: b})
	p.pit = pit.New(pit.Wiring{ID: "pit", IRQ: p.ioapic.Input(2), Clock: s})
	p.pm = acpipm.New(acpipm.Wiring{ID: "pm", SCI: p.ioapic.Input(9), Clock: s, Power: s})
	p.rtc = rtc.New(rtc.Wiring{ID: "rtc", IRQ: p.ioapic.Input(8), Clock: s})
	p.lapic.Write(0xf0, 4, 0x1ff)
	p.ioapic.Write(0, 4, 0x10+2*9)
	p.ioapic.Write(0x10, 4, 0x8031) // pin 9: level, vector 31h
	return p
}

// interrupt raises a level-triggered pin, takes the interrupt and ends it.
func (p platform) interrupt() (uint8, bool) {
	p.ioapic.SetIRQ(9, true)
	v, ok := p.lapic.Ack()
	p.ioapic.SetIRQ(9, false)
	p.lapic.Write(0xb0, 4, 0)
	return v, ok
}

func TestHotPathsAllocateNothing(t *testing.T) {
	p := newPlatform()
	pitRegs, port61, pm1 := p.pit.Windows()[0], p.pit.Windows()[1], p.pm.Windows()[0]
	pitRegs.Write(3, 1, 0x34)
	pitRegs.Write(0, 1, 0xff)
	pitRegs.Write(0, 1, 0xff)
	v, ok := p.interrupt()
	assert.True(t, ok)
	assert.EqualValues(t, 0x31, v)
	for name, f := range map[string]func(){
		"interrupt":     func() { p.interrupt() },
		"local timer":   func() { p.lapic.Write(0x380, 4, 1000); p.lapic.Event(0); p.lapic.Read(0x390, 4) },
		"IPI":           func() { p.lapic.Write(0x300, 4, 0x44040); p.lapic.Ack(); p.lapic.Write(0xb0, 4, 0) },
		"PIT event":     func() { p.pit.Event(0) },
		"PIT latch":     func() { pitRegs.Write(3, 1, 0); pitRegs.Read(0, 1); pitRegs.Read(0, 1) },
		"port 61":       func() { port61.Read(0, 1) },
		"PM timer":      func() { pm1.Read(8, 4) },
		"PM1 registers": func() { pm1.Write(2, 2, 0x100); pm1.Read(0, 2) },
		"RTC":           func() { p.rtc.Write(0, 1, 0); p.rtc.Read(1, 1) },
	} {
		assert.Zero(t, testing.AllocsPerRun(100, f), name)
	}
}

func BenchmarkInterrupt(b *testing.B) {
	p := newPlatform()
	for b.Loop() {
		p.interrupt()
	}
}

func BenchmarkPMTimer(b *testing.B) {
	pm1 := newPlatform().pm.Windows()[0]
	for b.Loop() {
		pm1.Read(8, 4)
	}
}
