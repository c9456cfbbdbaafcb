package acpipm

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// pm1 is the PM1a block with the timer, gpe the general-purpose block, apm the SMI
// command ports, rst the reset control port.
type (
	pm1 struct{ p *PM }
	gpe struct{ p *PM }
	apm struct{ p *PM }
	rst struct{ p *PM }
)

// Windows lists the block's ports. The reset control port lies inside the PCI
// configuration ports and answers byte accesses only.
func (p *PM) Windows() []bus.Window {
	return []bus.Window{
		{Name: "pm1", IO: true, Base: EventBase, Size: 12, Handler: pm1{p}},
		{Name: "gpe", IO: true, Base: GPE0Base, Size: GPE0Len, Handler: gpe{p}},
		{Name: "apm", IO: true, Base: SMICommand, Size: 2, Handler: apm{p}},
		{Name: "rst", IO: true, Base: ResetPort, Size: 1, Handler: rst{p}},
	}
}

// Offsets in the pm1 window.
const (
	offEN  = 2
	offCNT = 4
	offTMR = 8
)

func (h pm1) Read(off uint64, size int) uint64 {
	tmr := h.p.timer() // once, so that its bytes belong together
	return bus.ReadBytes(func(o uint64) uint8 {
		switch {
		case o < offEN:
			return uint8(h.p.status() >> (8 * o))
		case o < offCNT:
			return uint8(h.p.EN >> (8 * (o - offEN)))
		case o < offCNT+2:
			return uint8(h.p.CNT >> (8 * (o - offCNT)))
		case o >= offTMR && o < offTMR+4:
			return uint8(tmr >> (8 * (o - offTMR)))
		case o < offTMR:
			return 0
		}
		return 0xff
	}, off, size)
}

func (h pm1) Write(off uint64, size int, v uint64) {
	p := h.p
	sleep := false
	bus.WriteBytes(func(o uint64, b uint8) {
		switch {
		case o < offEN:
			p.clear(uint16(b) << (8 * o))
		case o < offCNT:
			p.EN = setByte(p.EN, o-offEN, b) & enMask
		case o < offCNT+2:
			sleep = sleep || o == offCNT+1 && b&(cntSleepEn>>8) != 0
			p.CNT = setByte(p.CNT, o-offCNT, b) & cntMask
		}
	}, off, size, v)
	p.update()
	if sleep {
		p.sleep()
	}
}

func setByte(v uint16, n uint64, b uint8) uint16 {
	return v&^(0xff<<(8*n)) | uint16(b)<<(8*n)
}

// clear is a write to PM1_STS: ones clear.
func (p *PM) clear(v uint16) {
	if v&stsTMR != 0 {
		p.CARRY = p.carries()
	}
	p.STS &^= v
}

// sleep enters the state in SLP_TYP [ACPI 6.5 4.8.3.2.1].
func (p *PM) sleep() {
	typ := uint8(p.CNT >> cntTypPos & 7)
	if typ == SleepS5 {
		p.w.Power.PowerOff()
		return
	}
	p.w.Power.Sleep(typ)
}

func (h gpe) Read(off uint64, size int) uint64 {
	return bus.ReadBytes(func(o uint64) uint8 {
		switch {
		case o < 2:
			return uint8(h.p.GPESTS >> (8 * o))
		case o < GPE0Len:
			return uint8(h.p.GPEEN >> (8 * (o - 2)))
		}
		return 0xff
	}, off, size)
}

func (h gpe) Write(off uint64, size int, v uint64) {
	bus.WriteBytes(func(o uint64, b uint8) {
		switch {
		case o < 2:
			h.p.GPESTS &^= uint16(b) << (8 * o)
		case o < GPE0Len:
			h.p.GPEEN = setByte(h.p.GPEEN, o-2, b)
		}
	}, off, size, v)
	h.p.update()
}

func (h apm) Read(off uint64, size int) uint64 {
	return bus.ReadBytes(func(o uint64) uint8 {
		switch o {
		case 0:
			return h.p.APMC
		case 1:
			return h.p.APMS
		}
		return 0xff
	}, off, size)
}

// Write takes an SMI command: what firmware's SMM code would do for the ACPI ones
// happens at once [ACPI 6.5 4.8.2.5].
func (h apm) Write(off uint64, size int, v uint64) {
	bus.WriteBytes(func(o uint64, b uint8) {
		switch {
		case o == 0:
			h.p.command(b)
		case o == 1:
			h.p.APMS = b
		}
	}, off, size, v)
}

func (p *PM) command(b uint8) {
	p.APMC = b
	switch b {
	case EnableValue:
		p.CNT |= cntSCI
	case DisableValue:
		p.CNT &^= cntSCI
	}
	p.update()
}

func (h rst) Read(off uint64, size int) uint64 {
	if off != 0 || size != 1 {
		return 1<<(8*size) - 1
	}
	return uint64(h.p.RST)
}

// Write resets the machine when RST_CPU goes from 0 to 1 [PIIX3 RC].
func (h rst) Write(off uint64, size int, v uint64) {
	if off != 0 || size != 1 {
		return
	}
	old := h.p.RST
	h.p.RST = uint8(v) & rstMask
	if h.p.RST&^old&rstCPU != 0 {
		h.p.w.Power.Reset(h.p.RST&0x0a != 0)
	}
}

var regs = []devices.Reg{
	{Space: "pm1", Off: 0, Size: 2, Name: "PM1_STS", Acc: devices.W1C, Mask: stsMask, Bits: "15 WAK | 10 RTC | 8 PWRBTN | 5 GBL | 0 TMR", Ref: "[ACPI 6.5 4.8.3.1.1]"},
	{Space: "pm1", Off: 2, Size: 2, Name: "PM1_EN", Mask: enMask, Bits: "10 RTC | 8 PWRBTN | 5 GBL | 0 TMR", Ref: "[ACPI 6.5 4.8.3.1.2]"},
	{Space: "pm1", Off: 4, Size: 2, Name: "PM1_CNT", Mask: cntMask, Bits: "13 SLP_EN | 12:10 SLP_TYP | 2 GBL_RLS | 1 BM_RLD | 0 SCI_EN", Ref: "[ACPI 6.5 4.8.3.2.1]"},
	{Space: "pm1", Off: 8, Size: 4, Name: "PM_TMR", Acc: devices.RO, Bits: "23:0 TMR_VAL", Ref: "[ACPI 6.5 4.8.3.3]"},
	{Space: "gpe", Off: 0, Size: 2, Name: "GPE0_STS", Acc: devices.W1C, Mask: 0xffff, Bits: "15:0 STS", Ref: "[ACPI 6.5 4.8.4.1]"},
	{Space: "gpe", Off: 2, Size: 2, Name: "GPE0_EN", Mask: 0xffff, Bits: "15:0 EN", Ref: "[ACPI 6.5 4.8.4.1]"},
	{Space: "apm", Off: 0, Size: 1, Name: "APMC", Mask: 0xff, Bits: "7:0 COMMAND", Ref: "[PIIX3 APM]"},
	{Space: "apm", Off: 1, Size: 1, Name: "APMS", Mask: 0xff, Bits: "7:0 STATUS", Ref: "[PIIX3 APM]"},
	{Space: "rst", Off: 0, Size: 1, Name: "RST_CNT", Mask: rstMask, Bits: "3 FULL_RST | 2 RST_CPU | 1 SYS_RST", Ref: "[PIIX3 RC]"},
}

// Regs describes the block's registers.
func (p *PM) Regs() []devices.Reg { return regs }
