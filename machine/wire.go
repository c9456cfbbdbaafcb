package machine

import (
	"fmt"

	"godwit/cpu"
	"godwit/devices"
	"godwit/devices/acpipm"
	"godwit/devices/debugcon"
	"godwit/devices/debugexit"
	"godwit/devices/fwcfg"
	"godwit/devices/i8042"
	"godwit/devices/ioapic"
	"godwit/devices/lapic"
	"godwit/devices/pic"
	"godwit/devices/pit"
	"godwit/devices/rtc"
	"godwit/devices/testdev"
	"godwit/devices/uart"
	"godwit/firmware"
	"godwit/mem"
)

// Interrupt request numbers of the PC. IRQ 0 reaches I/O APIC pin 2, as the
// tables tell the guest.
const (
	irqTimer = 0
	irqKey   = 1
	irqCOM1  = 4
	irqRTC   = 8
	irqSCI   = 9
	irqAux   = 12
	gsiTimer = 2
)

// wire builds vCPUs and devices. The order of devices is part of the format:
// the event queue names them by index.
func (m *Machine) wire(model *cpu.Model) error {
	m.sinks = make([]uint32, 24)
	m.apicBus = lapic.NewBus()
	m.pic = pic.New(pic.Wiring{ID: "pic0", INTR: m.apicBus.Input(0)})
	m.ioapic = ioapic.New(ioapic.Wiring{ID: "ioapic0", Bus: m.apicBus})
	m.apicBus.OnEOI(m.ioapic)
	devs := []func() devices.Device{
		func() devices.Device { return m.pic },
		func() devices.Device { return m.ioapic },
		m.newHPET,
		func() devices.Device {
			m.pit = pit.New(pit.Wiring{ID: "pit0", IRQ: m.hpet.Input(0), Clock: m.clock()})
			return m.pit
		},
		func() devices.Device {
			m.uart = uart.New(uart.Wiring{
				ID: "uart0", Base: 0x3f8, IRQ: m.line(irqCOM1), Clock: m.clock(), Out: (*console)(m),
				Drained: func() { m.fed = true },
			})
			return m.uart
		},
		func() devices.Device {
			m.pm = acpipm.New(acpipm.Wiring{ID: "acpipm0", SCI: m.line(irqSCI), Clock: m.clock(), Power: (*power)(m)})
			return m.pm
		},
	}
	devs = append(devs, func() devices.Device {
		m.rtc = rtc.New(rtc.Wiring{
			ID: "rtc0", IRQ: m.hpet.Input(1), Clock: m.clock(), Epoch: m.cfg.RTCEpoch, Alarm: m.pm.RTCAlarm,
		})
		return m.rtc
	}, func() devices.Device {
		return i8042.New(i8042.Wiring{ID: "i8042", KeyIRQ: m.line(irqKey), AuxIRQ: m.line(irqAux), Chassis: (*power)(m)})
	})
	var files []fwcfg.File
	if len(m.images.Bios) != 0 {
		files = append(files, fwcfg.File{Name: "etc/e820", Data: firmware.BiosE820(m.cfg.Memory)})
	}
	items, err := fwcfg.NewCatalogue(m.cfg.Memory, uint16(m.cfg.CPUs), files)
	if err != nil {
		return err
	}
	devs = append(devs, func() devices.Device { return fwcfg.New(fwcfg.Wiring{ID: "fwcfg0", Items: items}) })
	devs = append(devs, m.testDevices()...)
	for _, d := range devs {
		if err := m.add(d()); err != nil {
			return err
		}
	}
	for _, build := range m.wirePCI() {
		d, err := build()
		if err != nil {
			return err
		}
		if err := m.add(d); err != nil {
			return err
		}
	}
	for i := 0; i < m.cfg.CPUs; i++ {
		m.wireCPU(i, model)
	}
	if len(m.images.Bios) != 0 {
		return nil
	}
	// Last: files from before them have the other devices' indices.
	m.genID = m.newGenID()
	if err := m.add(m.genID); err != nil {
		return err
	}
	m.vmclock = m.newVMClock()
	return m.add(m.vmclock)
}

// testDevices are what test kernels find, and what asks for them.
func (m *Machine) testDevices() []func() devices.Device {
	var devs []func() devices.Device
	if m.cfg.DebugExit != "" {
		devs = append(devs, func() devices.Device {
			return debugexit.New(debugexit.Wiring{ID: "debugexit0", Exit: (*power)(m)})
		})
	}
	if m.cfg.TestDev {
		devs = append(devs, func() devices.Device {
			var lines [testdev.IRQs]devices.Line
			for i := range lines {
				lines[i] = m.line(uint8(i))
			}
			return testdev.New(testdev.Wiring{ID: "testdev0", IRQ: func(n int, level bool) { lines[n].Set(level) }})
		})
	}
	if m.cfg.Debugcon != 0 {
		devs = append(devs, func() devices.Device {
			return debugcon.New(debugcon.Wiring{ID: "debugcon0", Port: m.cfg.Debugcon, Out: (*console)(m)})
		})
	}
	return devs
}

// regions is the memory beside RAM.
func regions(cfg *Config, images *Images) []mem.Region {
	var rs []mem.Region
	if n := uint64(len(images.Bios)); n != 0 {
		rs = append(rs, mem.Region{Name: "bios", Base: mem.HighBase - n, Size: n, Kind: mem.ROM})
	}
	if cfg.TestDev {
		rs = append(rs, mem.Region{Name: "testdev", Base: testdev.Base, Size: testdev.Size})
	}
	return rs
}

// wireCPU builds a vCPU and its local APIC, which answers in its own address
// space only and so is in no common window.
func (m *Machine) wireCPU(i int, model *cpu.Model) {
	p := &core{}
	l := lapic.New(lapic.Wiring{
		ID: fmt.Sprintf("lapic%d", i), APICID: uint32(i), BSP: i == 0, PhysBits: cpu.PhysBits,
		Core: p, Clock: m.clock(), TSC: p, PIC: m.pic, Bus: m.apicBus,
	})
	c := cpu.New(i, model, m.mem, m.shared, (*cpuBus)(m), l)
	p.CPU, p.m = c, m
	c.SetWallClock(m.cfg.RTCEpoch)
	m.cpus = append(m.cpus, c)
	m.lapics = append(m.lapics, l)
	m.devs = append(m.devs, l)
}

// core is a vCPU as its local APIC sees it.
type core struct {
	*cpu.CPU
	m *Machine
}

// TSC is the machine's time stamp counter. The vCPU has already taken its own
// adjustment off the deadlines it passes on.
func (p *core) TSC() uint64 { return uint64(p.m.Now()) }

// Time is the first instant at which the counter has reached tsc.
func (p *core) Time(tsc uint64) devices.Nanos { return devices.Nanos(min(tsc, uint64(Forever))) }

// line is one source of an interrupt request.
type line struct {
	m   *Machine
	irq uint8
	bit uint32
}

// line allots a source of ISA interrupt request irq.
func (m *Machine) line(irq uint8) devices.Line {
	bit := uint32(1) << m.sinks[irq]
	m.sinks[irq]++
	return &line{m, irq, bit}
}

// Set ORs the source into its pin: of the PIC and, with IRQ 0 moved to pin 2, of
// the I/O APIC.
func (l *line) Set(level bool) {
	s := &l.m.st.Levels[l.irq]
	old := *s != 0
	*s &^= l.bit
	if level {
		*s |= l.bit
	}
	now := *s != 0
	if now == old {
		return
	}
	if l.irq < 16 {
		l.m.pic.SetIRQ(int(l.irq), now)
	}
	gsi := int(l.irq)
	if gsi == irqTimer {
		gsi = gsiTimer
	}
	l.m.ioapic.SetIRQ(gsi, now)
}

// console is the machine as the serial port's other end.
type console Machine

// Send passes a byte on to the host.
func (c *console) Send(b byte) {
	if c.host != nil {
		c.host.Output(b)
	}
}

// Debug passes a byte of the debug console on.
func (c *console) Debug(b byte) {
	if h, ok := c.host.(DebugHost); ok {
		h.Debug(b)
	} else if c.host != nil {
		c.host.Output(b)
	}
}

// power is the machine as its power management sees it.
type power Machine

// PowerOff ends the run after this instruction.
func (p *power) PowerOff() { p.st.End = Off }

// Reset resets after this instruction.
func (p *power) Reset(bool) { p.st.Reset = true }

// A20 changes nothing: the line is always let through.
func (p *power) A20(bool) {}

// Exit ends the run with the guest's code.
func (p *power) Exit(code uint32) {
	if p.cfg.DebugExit == DebugExitQEMU {
		code = (code<<1 | 1) & 0xff
	}
	p.st.End, p.st.ExitCode = Exited, code
}

// cpuBus is the machine as instructions see it.
type cpuBus Machine

// ReadMMIO reads the running vCPU's local APIC or the common space.
func (b *cpuBus) ReadMMIO(pa uint64, size int) uint64 {
	m := (*Machine)(b)
	if l, off, ok := m.apicAt(pa); ok {
		return l.Read(off, size)
	}
	return m.mmio.Read(pa, size)
}

// WriteMMIO is ReadMMIO for writes.
func (b *cpuBus) WriteMMIO(pa uint64, size int, v uint64) {
	m := (*Machine)(b)
	if l, off, ok := m.apicAt(pa); ok {
		l.Write(off, size, v)
		return
	}
	m.mmio.Write(pa, size, v)
}

func (m *Machine) apicAt(pa uint64) (*lapic.LAPIC, uint64, bool) {
	if m.cur == nil {
		return nil, 0, false
	}
	l := m.lapics[m.cur.ID()]
	base, on := l.Base()
	return l, pa - base, on && pa-base < 4096
}

// In reads a port.
func (b *cpuBus) In(port uint16, size int) uint32 {
	return uint32((*Machine)(b).ports.Read(uint64(port), size))
}

// Out writes a port.
func (b *cpuBus) Out(port uint16, size int, v uint32) {
	(*Machine)(b).ports.Write(uint64(port), size, uint64(v))
}

// TSC is the machine's time stamp counter: 1 GHz of guest time.
func (b *cpuBus) TSC() uint64 { return uint64((*Machine)(b).Now()) }

// Rand draws from the machine's PRNG (splitmix64), seeded once.
func (b *cpuBus) Rand() uint64 {
	b.st.PRNG += 0x9e3779b97f4a7c15
	z := b.st.PRNG
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
