package pic

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Ports of the pair.
const (
	MasterPort = 0x20
	SlavePort  = 0xa0
	ELCRPort   = 0x4d0
)

// Initialisation and operation command words [8259A].
const (
	icw1IC4  = 1 << 0
	icw1SNGL = 1 << 1
	icw1Is   = 1 << 4 // with A0 = 0: this is ICW1

	icw4AEOI = 1 << 1
	icw4SFNM = 1 << 4
	icw4Mask = 0x1f

	ocw3Is   = 1 << 3
	ocw3RIS  = 1 << 0
	ocw3RR   = 1 << 1
	ocw3Poll = 1 << 2
	ocw3SMM  = 1 << 5
	ocw3ESMM = 1 << 6

	ocw2EOI    = 1 << 5
	ocw2Select = 1 << 6 // bits 2:0 name the level
	ocw2Rotate = 1 << 7

	pollPending = 1 << 7
)

// ports is one chip's pair of ports, elcr the two edge/level registers.
type (
	ports struct {
		p *PIC
		c *chip
	}
	elcr struct{ p *PIC }
)

// Windows lists the ports of the pair.
func (p *PIC) Windows() []bus.Window {
	return []bus.Window{
		{Name: "master", IO: true, Base: MasterPort, Size: 2, Handler: ports{p, &p.Master}},
		{Name: "slave", IO: true, Base: SlavePort, Size: 2, Handler: ports{p, &p.Slave}},
		{Name: "elcr", IO: true, Base: ELCRPort, Size: 2, Handler: elcr{p}},
	}
}

func (h ports) Read(off uint64, size int) uint64 { return bus.ReadBytes(h.read, off, size) }

func (h ports) read(off uint64) uint8 {
	c := h.c
	switch {
	case off > 1:
		return 0xff
	case c.POLL:
		c.POLL = false
		return h.poll()
	case off == 1:
		return c.IMR
	case c.RISR:
		return c.ISR
	}
	return c.irr()
}

// poll acknowledges as the CPU would and tells the level [8259A Poll Command].
func (h ports) poll() uint8 {
	n, ok := h.c.request()
	if !ok {
		return 0
	}
	h.c.acknowledge(n)
	if h.c == &h.p.Slave {
		h.p.Master.drive(Cascade, false)
	}
	h.p.update()
	return pollPending | uint8(n)
}

func (h ports) Write(off uint64, size int, v uint64) {
	bus.WriteBytes(h.write, off, size, v)
	h.p.update()
}

func (h ports) write(off uint64, v uint8) {
	switch c := h.c; {
	case off > 1:
	case off == 1:
		c.writeData(v)
	case v&icw1Is != 0:
		c.initialise(v)
	case v&ocw3Is != 0:
		c.writeOCW3(v)
	default:
		c.writeOCW2(v)
	}
}

// initialise handles ICW1 [8259A Initialization Command Words 1 and 2].
func (c *chip) initialise(v uint8) {
	*c = chip{IN: c.IN, ELCR: c.ELCR, ICW1: v & (icw1SNGL | icw1IC4), ICW2: c.ICW2, ICW3: c.ICW3, NEXT: 2}
}

// writeData handles what the odd port means now: ICW2 to ICW4, or OCW1.
func (c *chip) writeData(v uint8) {
	switch c.NEXT {
	case 0:
		c.IMR = v
	case 2:
		c.ICW2 = v &^ 7
		switch {
		case c.ICW1&icw1SNGL == 0:
			c.NEXT = 3
		case c.ICW1&icw1IC4 != 0:
			c.NEXT = 4
		default:
			c.NEXT = 0
		}
	case 3:
		c.ICW3 = v
		c.NEXT = 0
		if c.ICW1&icw1IC4 != 0 {
			c.NEXT = 4
		}
	case 4:
		c.ICW4 = v & icw4Mask
		c.NEXT = 0
	}
}

func (c *chip) writeOCW3(v uint8) {
	c.POLL = v&ocw3Poll != 0
	if v&ocw3RR != 0 {
		c.RISR = v&ocw3RIS != 0
	}
	if v&ocw3ESMM != 0 {
		c.SMM = v&ocw3SMM != 0
	}
}

// writeOCW2 ends interrupts and turns priorities [8259A Operation Command Word 2].
func (c *chip) writeOCW2(v uint8) {
	level := uint(v & 7)
	switch v & (ocw2Rotate | ocw2Select | ocw2EOI) {
	case ocw2EOI:
		c.endOfInterrupt(false)
	case ocw2Rotate | ocw2EOI:
		c.endOfInterrupt(true)
	case ocw2Select | ocw2EOI:
		c.ISR &^= 1 << level
	case ocw2Rotate | ocw2Select | ocw2EOI:
		c.ISR &^= 1 << level
		c.FIRST = uint8(level+1) & 7
	case ocw2Rotate | ocw2Select:
		c.FIRST = uint8(level+1) & 7
	case ocw2Rotate:
		c.RAEOI = true
	case 0:
		c.RAEOI = false
	}
}

// endOfInterrupt ends the most urgent interrupt in service; one that special mask
// mode has masked does not count [8259A End of Interrupt].
func (c *chip) endOfInterrupt(rotate bool) {
	set := c.ISR
	if c.SMM {
		set &^= c.IMR
	}
	n, _, ok := c.highest(set)
	if !ok {
		return
	}
	c.ISR &^= 1 << n
	if rotate {
		c.FIRST = uint8(n+1) & 7
	}
}

func (h elcr) Read(off uint64, size int) uint64 {
	return bus.ReadBytes(func(o uint64) uint8 {
		switch o {
		case 0:
			return h.p.Master.ELCR
		case 1:
			return h.p.Slave.ELCR
		}
		return 0xff
	}, off, size)
}

func (h elcr) Write(off uint64, size int, v uint64) {
	bus.WriteBytes(func(o uint64, b uint8) {
		switch o {
		case 0:
			h.p.Master.setELCR(b & elcrMaster)
		case 1:
			h.p.Slave.setELCR(b & elcrSlave)
		}
	}, off, size, v)
	h.p.update()
}

// setELCR changes trigger modes. An edge latched before does not come back when the
// input returns to edge mode.
func (c *chip) setELCR(v uint8) {
	c.ELCR = v
	c.IRR &^= v
}

// Peek tells a register by its index in Regs, without side effects.
func (p *PIC) Peek(i int) uint64 {
	return uint64([...]uint8{
		p.Master.irr(), p.Master.ISR, p.Master.IMR, p.Slave.irr(), p.Slave.ISR, p.Slave.IMR, p.Master.ELCR, p.Slave.ELCR,
	}[i])
}

var regs = []devices.Reg{
	{Space: "master", Off: 0, Size: 1, Name: "IRR", Acc: devices.RO, Banked: true, Bits: "7:0 IRQ7_0", Ref: "[8259A OCW3]"},
	{Space: "master", Off: 0, Size: 1, Name: "ISR", Acc: devices.RO, Banked: true, Bits: "7:0 IRQ7_0", Ref: "[8259A OCW3]"},
	{Space: "master", Off: 1, Size: 1, Name: "IMR", Mask: 0xff, Reset: 0xff, Bits: "7:0 IRQ7_0", Ref: "[8259A OCW1]"},
	{Space: "slave", Off: 0, Size: 1, Name: "IRR", Acc: devices.RO, Banked: true, Bits: "7:0 IRQ15_8", Ref: "[8259A OCW3]"},
	{Space: "slave", Off: 0, Size: 1, Name: "ISR", Acc: devices.RO, Banked: true, Bits: "7:0 IRQ15_8", Ref: "[8259A OCW3]"},
	{Space: "slave", Off: 1, Size: 1, Name: "IMR", Mask: 0xff, Reset: 0xff, Bits: "7:0 IRQ15_8", Ref: "[8259A OCW1]"},
	{Space: "elcr", Off: 0, Size: 1, Name: "ELCR1", Mask: elcrMaster, Bits: "7:3 LEVEL7_3", Ref: "[PIIX3 ELCR]"},
	{Space: "elcr", Off: 1, Size: 1, Name: "ELCR2", Mask: elcrSlave, Bits: "7:6 LEVEL15_14 | 4:1 LEVEL12_9", Ref: "[PIIX3 ELCR]"},
}

// Regs describes the pair's registers.
func (p *PIC) Regs() []devices.Reg { return regs }
