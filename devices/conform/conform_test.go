// Package conform runs the device conformance suite over every chip.
package conform

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"godwit/devices"
	"godwit/devices/acpipm"
	"godwit/devices/debugcon"
	"godwit/devices/debugexit"
	"godwit/devices/i8042"
	"godwit/devices/ioapic"
	"godwit/devices/lapic"
	"godwit/devices/pic"
	"godwit/devices/pit"
	"godwit/devices/rtc"
	"godwit/devices/testdev"
	"godwit/devices/uart"
	"godwit/internal/testkit"
)

var kinds = []testkit.Kind{
	{Name: "uart", New: newUART},
	{Name: "pic", New: newPIC},
	{Name: "pit", New: newPIT},
	{Name: "ioapic", New: newIOAPIC},
	{Name: "lapic", New: newLAPIC},
	{Name: "debugexit", New: newDebugExit},
	{Name: "testdev", New: newTestDev},
	{Name: "debugcon", New: newDebugcon},
	{Name: "acpipm", New: newPM},
	{Name: "rtc", New: newRTC},
	{Name: "i8042", New: newI8042},
	{Name: "pcihost", New: newPCIHost},
	{Name: "pciisa", New: newPCIISA},
	{Name: "pcipm", New: newPCIPM},
	{Name: "hpet", New: newHPET},
	{Name: "fwcfg", New: newFWCfg},
	{Name: "pvpanic", New: newPVPanic},
	{Name: "vmgenid", New: newVMGenID},
	{Name: "vmclock", New: newVMClock},
	{Name: "virtiorng", New: newRNG},
	{Name: "virtioconsole", New: newConsole},
	{Name: "virtioballoon", New: newBalloon},
	{Name: "virtioblk", New: newBlk(false, false)},
	{Name: "virtioblkro", New: newBlk(true, true)},
}

func TestConformance(t *testing.T) { testkit.Conform(t, kinds) }

func FuzzStates(f *testing.F) { testkit.FuzzStates(f, kinds) }

// outside is everything that devices call besides clock and lines.
type outside struct{ w *testkit.World }

func (o outside) Send(b byte)                 { o.w.Logf("send %02x", b) }
func (o outside) Debug(b byte)                { o.w.Logf("debug %02x", b) }
func (o outside) Exit(code uint32)            { o.w.Logf("exit %x", code) }
func (o outside) PowerOff()                   { o.w.Logf("power off") }
func (o outside) Sleep(typ uint8)             { o.w.Logf("sleep %d", typ) }
func (o outside) Reset(full bool)             { o.w.Logf("reset %t", full) }
func (o outside) A20(on bool)                 { o.w.Logf("a20 %t", on) }
func (o outside) MSI(addr uint64, d uint32)   { o.w.Logf("msi %x %x", addr, d) }
func (o outside) INTR(level bool)             { o.w.Line("intr").Set(level) }
func (o outside) NMI()                        { o.w.Logf("nmi") }
func (o outside) Init()                       { o.w.Logf("init") }
func (o outside) SIPI(v uint8)                { o.w.Logf("sipi %x", v) }
func (o outside) Vector() uint8               { return 0x30 }
func (o outside) Ack() uint8                  { o.w.Logf("extint"); return 0x30 }
func (o outside) EOI(v uint8)                 { o.w.Logf("eoi %x", v) }
func (o outside) TSC() uint64                 { return uint64(o.w.Now()) }
func (o outside) Time(t uint64) devices.Nanos { return devices.Nanos(min(t, 1<<62)) }

func newUART(w *testkit.World) testkit.Specimen {
	u := uart.New(uart.Wiring{ID: "uart0", Base: uart.COM1, IRQ: w.Line("irq"), Clock: w, Out: outside{w}})
	return testkit.Specimen{Dev: u, Windows: u.Windows(), Poke: func(r *rand.Rand) string {
		if r.IntN(8) == 0 {
			return fmt.Sprint("break ", u.Break())
		}
		p := make([]byte, r.IntN(20))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return fmt.Sprint("receive ", u.Receive(p), u.Room())
	}}
}

func newPIC(w *testkit.World) testkit.Specimen {
	p := pic.New(pic.Wiring{ID: "pic", INTR: w.Line("intr")})
	return testkit.Specimen{
		Dev: p, Windows: p.Windows(),
		Poke: func(r *rand.Rand) string {
			if r.IntN(3) == 0 {
				return fmt.Sprint("ack ", p.Ack())
			}
			p.SetIRQ(r.IntN(18)-1, r.IntN(2) == 0)
			return ""
		},
		Release: func() {
			for n := range 16 {
				p.SetIRQ(n, false)
			}
		},
	}
}

func newPIT(w *testkit.World) testkit.Specimen {
	p := pit.New(pit.Wiring{ID: "pit", IRQ: w.Line("irq0"), Clock: w})
	return testkit.Specimen{Dev: p, Windows: p.Windows()}
}

func newTestDev(w *testkit.World) testkit.Specimen {
	d := testdev.New(testdev.Wiring{ID: "testdev", IRQ: func(n int, level bool) { w.Line(fmt.Sprint("irq", n)).Set(level) }})
	return testkit.Specimen{Dev: d, Windows: d.Windows()}
}

func newDebugcon(w *testkit.World) testkit.Specimen {
	d := debugcon.New(debugcon.Wiring{ID: "debugcon", Port: debugcon.Port, Out: outside{w}})
	return testkit.Specimen{Dev: d, Windows: d.Windows()}
}

func newIOAPIC(w *testkit.World) testkit.Specimen {
	a := ioapic.New(ioapic.Wiring{ID: "ioapic", Bus: outside{w}})
	return testkit.Specimen{
		Dev: a, Windows: a.Windows(),
		Poke: func(r *rand.Rand) string {
			switch r.IntN(4) {
			case 0:
				a.EOI(uint8(r.Uint32()))
			case 1:
				a.Write(0, 4, uint64(0x10+r.IntN(2*ioapic.Pins)))
				a.Write(0x10, 4, r.Uint64()&0x1bfff)
			default:
				a.SetIRQ(r.IntN(26)-1, r.IntN(2) == 0)
			}
			return ""
		},
		Release: func() {
			for n := range ioapic.Pins {
				a.SetIRQ(n, false)
			}
		},
	}
}

func newLAPIC(w *testkit.World) testkit.Specimen {
	b := lapic.NewBus()
	b.OnEOI(outside{w})
	o := outside{w}
	l := lapic.New(lapic.Wiring{ID: "lapic0", BSP: true, PhysBits: 40, Core: o, Clock: w, TSC: o, PIC: o, Bus: b})
	return testkit.Specimen{
		Dev: l, Windows: l.Windows(),
		Poke:    func(r *rand.Rand) string { return pokeLAPIC(l, b, r) },
		Release: func() { l.SetLINT(0, false); l.SetLINT(1, false) },
		Enable:  func() { l.Write(0xf0, 4, 0x1ff) },
	}
}

func pokeLAPIC(l *lapic.LAPIC, b *lapic.Bus, r *rand.Rand) string {
	switch r.IntN(9) {
	case 0:
		l.SetLINT(r.IntN(2), r.IntN(2) == 0)
	case 1:
		b.MSI(0xfee00000|r.Uint64()&0xff004, r.Uint32())
	case 2:
		b.MSI(0xfeeff000, 16+r.Uint32N(240))
	case 3:
		l.SetTPR(uint8(r.IntN(16)))
	case 4:
		l.PMI()
	case 5:
		l.Write(0xf0, 4, 0x1ff)
	case 6:
		n := []uint32{0x1b, 0x6e0, 0x800 + r.Uint32N(0x41)}[r.IntN(3)]
		v := []uint64{r.Uint64(), uint64(r.Uint32()), 0xfee00800, 0xfee00c00, 0xfee00000, 0x10030}[r.IntN(6)]
		return fmt.Sprintf("wrmsr %x %x %t", n, v, l.WriteMSR(n, v))
	case 7:
		v, ok := l.ReadMSR([]uint32{0x1b, 0x6e0, 0x800 + r.Uint32N(0x41)}[r.IntN(3)])
		return fmt.Sprintf("rdmsr %x %t", v, ok)
	}
	v, ok := l.Ack()
	return fmt.Sprintf("ack %x %t %t %x", v, ok, l.Pending(), l.TPR())
}

func newDebugExit(w *testkit.World) testkit.Specimen {
	d := debugexit.New(debugexit.Wiring{ID: "debugexit", Exit: outside{w}})
	return testkit.Specimen{Dev: d, Windows: d.Windows()}
}

func newPM(w *testkit.World) testkit.Specimen {
	p := acpipm.New(acpipm.Wiring{ID: "acpipm", SCI: w.Line("sci"), Clock: w, Power: outside{w}})
	return testkit.Specimen{Dev: p, Windows: p.Windows(), Poke: func(r *rand.Rand) string {
		switch r.IntN(4) {
		case 0:
			p.Press()
		case 1:
			p.Wake()
		case 2:
			p.RTCAlarm()
		case 3:
			p.GPE(uint(r.IntN(16)))
		}
		return ""
	}}
}

func newRTC(w *testkit.World) testkit.Specimen {
	r := rtc.New(rtc.Wiring{ID: "rtc", IRQ: w.Line("irq8"), Clock: w, Epoch: 1735430370, Alarm: outside{w}.alarm})
	return testkit.Specimen{Dev: r, Windows: r.Windows(), Poke: func(rng *rand.Rand) string {
		// One register through the index, mostly of the clock's own.
		i, v := []uint64{rng.Uint64N(14), 10 + rng.Uint64N(3), 0x32, rng.Uint64N(256)}[rng.IntN(4)], rng.Uint64N(256)
		r.Write(0, 1, i)
		if rng.IntN(2) == 0 {
			return fmt.Sprintf("[%x]=%x", i, r.Read(1, 1))
		}
		r.Write(1, 1, v)
		return ""
	}}
}

func (o outside) alarm() { o.w.Logf("alarm") }

func newI8042(w *testkit.World) testkit.Specimen {
	c := i8042.New(i8042.Wiring{ID: "i8042", KeyIRQ: w.Line("irq1"), AuxIRQ: w.Line("irq12"), Chassis: outside{w}})
	data, cmd := c.Windows()[0].Handler, c.Windows()[1].Handler
	return testkit.Specimen{Dev: c, Windows: c.Windows(), Poke: func(r *rand.Rand) string {
		// Bytes that mean something to the controller, the keyboard or the mouse.
		b := []uint64{0xd4, 0x60, 0xd1, 0xd2, 0xd3, 0xaa, 0x20, 0xd0}[r.IntN(8)]
		switch r.IntN(3) {
		case 0:
			cmd.Write(0, 1, b)
		case 1:
			data.Write(0, 1, 0xe6+r.Uint64N(26))
		}
		return fmt.Sprintf("%x %x", cmd.Read(0, 1), data.Read(0, 1))
	}}
}
