package i8042

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Controller commands.
const (
	cmdReadRAM   = 0x20 // to 3f
	cmdWriteRAM  = 0x60 // to 7f
	cmdPassword  = 0xa4
	cmdAuxOff    = 0xa7
	cmdAuxOn     = 0xa8
	cmdAuxTest   = 0xa9
	cmdSelfTest  = 0xaa
	cmdKeyTest   = 0xab
	cmdKeyOff    = 0xad
	cmdKeyOn     = 0xae
	cmdReadIn    = 0xc0
	cmdReadOut   = 0xd0
	cmdWriteOut  = 0xd1
	cmdWriteKey  = 0xd2
	cmdWriteAux  = 0xd3
	cmdToAux     = 0xd4
	cmdA20Off    = 0xdd
	cmdA20On     = 0xdf
	cmdTestInput = 0xe0
	cmdPulse     = 0xf0 // to ff: pulse the output bits that are 0
)

type (
	data    struct{ c *Controller }
	command struct{ c *Controller }
	port92  struct{ c *Controller }
)

// Windows lists the ports.
func (c *Controller) Windows() []bus.Window {
	return []bus.Window{
		{Name: "data", IO: true, Base: DataPort, Size: 1, Handler: data{c}},
		{Name: "command", IO: true, Base: CommandPort, Size: 1, Handler: command{c}},
		{Name: "port92", IO: true, Base: Port92, Size: 1, Handler: port92{c}},
	}
}

// Read takes the byte from the output buffer. Why the interrupts fall first: the
// next byte must give the interrupt controller another edge.
func (h data) Read(off uint64, size int) uint64 {
	c := h.c
	v := c.OUT
	c.SRC = fromNone
	c.w.KeyIRQ.Set(false)
	c.w.AuxIRQ.Set(false)
	c.update()
	return pad(v, size)
}

// pad fills the bytes beyond a register with ones, as the bus does.
func pad(v uint8, size int) uint64 {
	return (0xffffffffffffff00 | uint64(v)) & (^uint64(0) >> (64 - 8*size))
}

func (h data) Write(_ uint64, _ int, v uint64) {
	c, b := h.c, uint8(v)
	cmd := c.CMD
	c.CMD, c.LAST = 0, false
	switch {
	case cmd >= cmdWriteRAM && cmd < cmdWriteRAM+32:
		c.RAM[cmd-cmdWriteRAM] = b
	case cmd == cmdWriteOut:
		c.setOut(b)
	case cmd == cmdWriteKey:
		c.CTL.put(b)
	case cmd == cmdWriteAux:
		c.CTLAUX.put(b)
	case cmd == cmdToAux:
		c.RAM[0] &^= cfgAuxOff // talking to a device switches its port on
		c.AUX.write(b)
	default:
		c.RAM[0] &^= cfgKeyOff
		c.KEY.write(b)
	}
	c.update()
}

func (h command) Read(_ uint64, size int) uint64 { return pad(h.c.status(), size) }

func (c *Controller) status() uint8 {
	v := uint8(stUNLOCK)
	if c.RAM[0]&cfgSYS != 0 {
		v |= stSYS
	}
	if c.LAST {
		v |= stCMD
	}
	switch c.SRC {
	case fromKey:
		v |= stOBF
	case fromAux:
		v |= stOBF | stAUX
	}
	return v
}

func (h command) Write(_ uint64, _ int, v uint64) {
	h.c.LAST, h.c.CMD = true, 0
	h.c.run(uint8(v))
	h.c.update()
}

// run carries out a controller command.
func (c *Controller) run(b uint8) {
	switch {
	case b >= cmdReadRAM && b < cmdReadRAM+32:
		c.CTL.put(c.RAM[b-cmdReadRAM])
	case b >= cmdWriteRAM && b < cmdWriteRAM+32,
		b == cmdWriteOut, b == cmdWriteKey, b == cmdWriteAux, b == cmdToAux:
		c.CMD = b
	case b >= cmdPulse:
		if b&outNoReset == 0 {
			c.w.Chassis.Reset(false)
		}
	default:
		c.simple(b)
	}
}

// simple carries out the commands without data; unknown ones do nothing.
func (c *Controller) simple(b uint8) {
	switch b {
	case cmdPassword:
		c.CTL.put(0xf1) // none set
	case cmdAuxOff:
		c.RAM[0] |= cfgAuxOff
	case cmdAuxOn:
		c.RAM[0] &^= cfgAuxOff
	case cmdAuxTest, cmdKeyTest, cmdTestInput:
		c.CTL.put(0x00)
	case cmdSelfTest:
		c.RAM[0] |= cfgSYS
		c.CTL.put(0x55)
	case cmdKeyOff:
		c.RAM[0] |= cfgKeyOff
	case cmdKeyOn:
		c.RAM[0] &^= cfgKeyOff
	case cmdReadIn:
		c.CTL.put(0x80) // the keyboard is not locked
	case cmdReadOut:
		c.CTL.put(c.out())
	case cmdA20Off:
		c.setOut(c.PORT &^ outA20)
	case cmdA20On:
		c.setOut(c.PORT | outA20)
	}
}

func (h port92) Read(_ uint64, size int) uint64 {
	v := h.c.P92
	if h.c.PORT&outA20 != 0 {
		v |= p92A20
	}
	return pad(v, size)
}

// Write switches A20 and, when bit 0 rises, resets the machine [ICH9 PORT92].
func (h port92) Write(_ uint64, _ int, v uint64) {
	c, b := h.c, uint8(v)
	rising := b &^ c.P92 & p92Reset
	c.P92 = b & p92Reset
	c.PORT &^= outA20
	if b&p92A20 != 0 {
		c.PORT |= outA20
	}
	c.w.Chassis.A20(b&p92A20 != 0)
	if rising != 0 {
		c.w.Chassis.Reset(false)
	}
}

// Peek tells a register by its index in Regs, without side effects.
func (c *Controller) Peek(i int) uint64 {
	return [...]func() uint64{
		func() uint64 { return uint64(c.OUT) },
		func() uint64 { return uint64(c.status()) },
		func() uint64 { return 0 },
		func() uint64 { return uint64(c.RAM[0]) },
		func() uint64 { return uint64(c.out()) },
		func() uint64 { return port92{c}.Read(0, 1) },
	}[i]()
}

var regs = []devices.Reg{
	{Space: "data", Off: 0, Size: 1, Name: "DATA", Acc: devices.RC, Mask: 0xff, Banked: true, Bits: "7:0 DATA", Ref: "[IBM PS/2 KBD]"},
	{Space: "command", Off: 0, Size: 1, Name: "STATUS", Acc: devices.RO, Reset: 0x1c, Banked: true, Bits: "5 AUXOBF | 4 UNLOCK | 3 CMD | 2 SYS | 0 OBF", Ref: "[IBM PS/2 KBD]"},
	{Space: "command", Off: 0, Size: 1, Name: "COMMAND", Acc: devices.WO, Mask: 0xff, Banked: true, Bits: "7:0 COMMAND", Ref: "[IBM PS/2 KBD]"},
	{Space: "command", Off: 0x20, Size: 1, Name: "CONFIG", Mask: 0xff, Reset: cfgInitial, Banked: true, Bits: "6 XLATE | 5 AUXOFF | 4 KEYOFF | 2 SYS | 1 AUXIRQ | 0 KEYIRQ", Ref: "[IBM PS/2 KBD]"},
	{Space: "command", Off: 0xd0, Size: 1, Name: "OUTPUT", Mask: 0xcf, Reset: outInitial, Banked: true, Bits: "5 AUXIRQ | 4 KEYIRQ | 1 A20 | 0 NORESET", Ref: "[IBM PS/2 KBD]"},
	{Space: "port92", Off: 0, Size: 1, Name: "P92", Mask: p92Reset | p92A20, Reset: p92A20, Bits: "1 A20 | 0 RESET", Ref: "[ICH9 PORT92]"},
}

// Regs describes the controller's registers; CONFIG and OUTPUT are reached by
// commands.
func (c *Controller) Regs() []devices.Reg { return regs }
