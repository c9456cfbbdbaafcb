package uart

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Read answers a guest's read.
func (u *UART) Read(off uint64, size int) uint64 { return bus.ReadBytes(u.read, off, size) }

// Write answers a guest's write.
func (u *UART) Write(off uint64, size int, v uint64) { bus.WriteBytes(u.write, off, size, v) }

func (u *UART) read(off uint64) uint8 {
	dlab := u.LCR&lcrDLAB != 0
	switch off {
	case regData:
		if dlab {
			return uint8(u.DIV)
		}
		b := u.pop()
		u.update()
		return b
	case regIER:
		if dlab {
			return uint8(u.DIV >> 8)
		}
		return u.IER
	case regIIR:
		return u.readIIR()
	case regLCR:
		return u.LCR
	case regMCR:
		return u.MCR
	case regLSR:
		return u.readLSR()
	case regMSR:
		v := u.MSR
		u.MSR &^= msrDeltas
		u.update()
		return v
	case regSCR:
		return u.SCR
	}
	return 0xff
}

// readIIR tells the most urgent interrupt; telling THRE clears it
// [PC16550D 8.5 Table IV].
func (u *UART) readIIR() uint8 {
	src := u.source()
	if src == iirTHRE {
		u.THRI = false
		u.update()
	}
	return src | u.iirFIFO()
}

func (u *UART) iirFIFO() uint8 {
	if u.FCR&fcrEnable != 0 {
		return iirFIFOs
	}
	return 0
}

// lsr returns the line status: the transmitter is always empty.
func (u *UART) lsr() uint8 {
	v := uint8(lsrTHRE | lsrTEMT)
	if u.RXN > 0 {
		v |= lsrDR
	}
	if u.OE {
		v |= lsrOE
	}
	if u.BRK&1 != 0 {
		v |= lsrBI
	}
	if u.FCR&fcrEnable != 0 && u.BRK != 0 {
		v |= lsrError
	}
	return v
}

func (u *UART) readLSR() uint8 {
	v := u.lsr()
	u.OE = false
	u.BRK &^= 1
	u.update()
	return v
}

func (u *UART) write(off uint64, v uint8) {
	dlab := u.LCR&lcrDLAB != 0
	switch {
	case off == regData && dlab:
		u.DIV = u.DIV&0xff00 | uint16(v)
	case off == regData:
		u.transmit(v)
	case off == regIER && dlab:
		u.DIV = u.DIV&0x00ff | uint16(v)<<8
	case off == regIER:
		u.writeIER(v & 0x0f)
	case off == regIIR:
		u.writeFCR(v)
	case off == regLCR:
		u.writeLCR(v)
	case off == regMCR:
		u.MCR = v & mcrMask
		u.modem()
	case off == regSCR:
		u.SCR = v
	default: // LSR and MSR: factory test only [PC16550D 8.3]
		return
	}
	u.update()
}

// transmit sends at once, so the holding register is empty again and says so.
func (u *UART) transmit(b uint8) {
	if u.MCR&mcrLoop != 0 {
		u.push(b, false)
	} else {
		u.w.Out.Send(b)
	}
	u.THRI = true
}

// writeIER enables interrupts. Why: enabling THRE while the transmitter is empty
// raises it (again); Linux starts sending that way, and tests for it
// (8250_port.c serial8250_THRE_test).
func (u *UART) writeIER(v uint8) {
	if (v^u.IER)&ierTHRE != 0 {
		u.THRI = v&ierTHRE != 0
	}
	u.IER = v
}

// writeFCR controls the FIFOs [PC16550D 8.4]. Changing the enable bit empties
// them; the other bits count only with it.
func (u *UART) writeFCR(v uint8) {
	if v&fcrEnable == 0 {
		v = 0
	}
	if (v^u.FCR)&fcrEnable != 0 || v&fcrClearRX != 0 {
		u.FCR = v & fcrKept
		u.clearRX()
		return
	}
	u.FCR = v & fcrKept
}

func (u *UART) writeLCR(v uint8) {
	if v&^u.LCR&lcrBreak != 0 && u.MCR&mcrLoop != 0 {
		u.push(0, true)
	}
	u.LCR = v
}

// modem recomputes the modem inputs: the chip's own outputs in loopback, a
// present terminal otherwise [PC16550D 8.7, 8.8].
func (u *UART) modem() {
	in := uint8(msrIdle)
	if u.MCR&mcrLoop != 0 {
		in = 0
		for _, p := range [4]struct{ out, in uint8 }{
			{mcrRTS, msrCTS}, {mcrDTR, msrDSR}, {mcrOUT1, msrRI}, {mcrOUT2, msrDCD},
		} {
			if u.MCR&p.out != 0 {
				in |= p.in
			}
		}
	}
	changed := (in ^ u.MSR) & 0xf0
	if in&msrRI != 0 {
		changed &^= msrRI // TERI marks the trailing edge only
	}
	u.MSR = in | u.MSR&msrDeltas | changed>>4
}

// Peek tells a register by its index in Regs, without side effects.
func (u *UART) Peek(i int) uint64 {
	return [...]func() uint64{
		func() uint64 { return uint64(u.RX[0]) },
		func() uint64 { return 0 },
		func() uint64 { return uint64(u.DIV & 0xff) },
		func() uint64 { return uint64(u.IER) },
		func() uint64 { return uint64(u.DIV >> 8) },
		func() uint64 { return uint64(u.source() | u.iirFIFO()) },
		func() uint64 { return uint64(u.FCR) },
		func() uint64 { return uint64(u.LCR) },
		func() uint64 { return uint64(u.MCR) },
		func() uint64 { return uint64(u.lsr()) },
		func() uint64 { return uint64(u.MSR) },
		func() uint64 { return uint64(u.SCR) },
	}[i]()
}

var regs = []devices.Reg{
	{Space: "pio", Off: 0, Size: 1, Name: "RBR", Acc: devices.RC, Banked: true, Bits: "7:0 DATA", Ref: "[PC16550D 8.0]"},
	{Space: "pio", Off: 0, Size: 1, Name: "THR", Acc: devices.WO, Mask: 0xff, Banked: true, Bits: "7:0 DATA", Ref: "[PC16550D 8.0]"},
	{Space: "pio", Off: 0, Size: 1, Name: "DLL", Mask: 0xff, Reset: 12, Banked: true, Bits: "7:0 DIV", Ref: "[PC16550D 8.2]"},
	{Space: "pio", Off: 1, Size: 1, Name: "IER", Mask: 0x0f, Bits: "3 EDSSI | 2 ELSI | 1 ETBEI | 0 ERBFI", Ref: "[PC16550D 8.6]"},
	{Space: "pio", Off: 1, Size: 1, Name: "DLM", Mask: 0xff, Banked: true, Bits: "7:0 DIV", Ref: "[PC16550D 8.2]"},
	{Space: "pio", Off: 2, Size: 1, Name: "IIR", Acc: devices.RC, Reset: 1, Banked: true, Bits: "7:6 FIFOS | 3:1 ID | 0 NONE", Ref: "[PC16550D 8.5]"},
	{Space: "pio", Off: 2, Size: 1, Name: "FCR", Acc: devices.WO, Mask: 0xcf, Banked: true, Bits: "7:6 TRIGGER | 3 DMA | 2 XFIFOR | 1 RFIFOR | 0 FIFOE", Ref: "[PC16550D 8.4]"},
	{Space: "pio", Off: 3, Size: 1, Name: "LCR", Mask: 0xff, Bits: "7 DLAB | 6 BRK | 5 STICK | 4 EPS | 3 PEN | 2 STB | 1:0 WLS", Ref: "[PC16550D 8.1]"},
	{Space: "pio", Off: 4, Size: 1, Name: "MCR", Mask: 0x1f, Bits: "4 LOOP | 3 OUT2 | 2 OUT1 | 1 RTS | 0 DTR", Ref: "[PC16550D 8.7]"},
	{Space: "pio", Off: 5, Size: 1, Name: "LSR", Acc: devices.RC, Reset: 0x60, Bits: "7 ERR | 6 TEMT | 5 THRE | 4 BI | 3 FE | 2 PE | 1 OE | 0 DR", Ref: "[PC16550D 8.3]"},
	{Space: "pio", Off: 6, Size: 1, Name: "MSR", Acc: devices.RC, Reset: 0xb0, Bits: "7 DCD | 6 RI | 5 DSR | 4 CTS | 3 DDCD | 2 TERI | 1 DDSR | 0 DCTS", Ref: "[PC16550D 8.8]"},
	{Space: "pio", Off: 7, Size: 1, Name: "SCR", Mask: 0xff, Bits: "7:0 SCRATCH", Ref: "[PC16550D 8.9]"},
}

// Regs describes the chip's registers.
func (u *UART) Regs() []devices.Reg { return regs }
