package pit

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Port 61h [PIIX3 NMISC].
const (
	p61Gate2   = 1 << 0
	p61Mask    = 0x0f
	p61Refresh = 1 << 4
	p61Out2    = 1 << 5
)

const (
	regControl = 3

	readBack       = 3 // as a counter number
	readBackNoCnt  = 1 << 5
	readBackNoStat = 1 << 4
)

type (
	counters struct{ p *PIT }
	port61   struct{ p *PIT }
)

// Windows lists the timer's ports.
func (p *PIT) Windows() []bus.Window {
	return []bus.Window{
		{Name: "pit", IO: true, Base: Port, Size: 4, Handler: counters{p}},
		{Name: "port61", IO: true, Base: Port61, Size: 1, Handler: port61{p}},
	}
}

func (h counters) Read(off uint64, size int) uint64 { return bus.ReadBytes(h.read, off, size) }

func (h counters) read(off uint64) uint8 {
	if off >= regControl {
		return 0xff // the control word cannot be read
	}
	t, c := h.p.now(), &h.p.Counters[off]
	c.settle(t)
	return c.read(t)
}

// read gives the latched status, then the latched count, then the running one.
func (c *counter) read(t int64) uint8 {
	if c.STATL {
		c.STATL = false
		return c.STATUS
	}
	v := c.value(t)
	upper := c.RW == rwHigh || c.RW == rwBoth && c.RHIGH
	if c.LATN > 0 {
		v = c.LATCH
		upper = c.RW == rwHigh || c.RW == rwBoth && c.LATN == 1
		c.LATN--
	} else if c.RW == rwBoth {
		c.RHIGH = !c.RHIGH
	}
	if upper {
		return uint8(v >> 8)
	}
	return uint8(v)
}

func (h counters) Write(off uint64, size int, v uint64) { bus.WriteBytes(h.write, off, size, v) }

func (h counters) write(off uint64, v uint8) {
	t := h.p.now()
	switch {
	case off == regControl && v>>6 == readBack:
		h.p.readBack(v, t)
	case off == regControl:
		h.p.control(v, t)
	case off < regControl:
		h.p.Counters[off].settle(t)
		h.p.Counters[off].write(v, t)
		if off == 0 {
			h.p.output(t)
		}
	}
}

// control handles a control word: a mode, or a latch [8254 Control Word Format].
func (p *PIT) control(v uint8, t int64) {
	n := v >> 6
	c := &p.Counters[n]
	c.settle(t)
	if v>>4&3 == 0 {
		c.latch(t)
		return
	}
	mode := v >> 1 & 7
	if mode > modeHardStrobe {
		mode -= 4 // bit 2 of the modes 2 and 3 does not count
	}
	*c = counter{MODE: mode, RW: v >> 4 & 3, BCD: v&1 != 0, GATE: c.GATE, CR: c.CR}
	if n == 0 {
		p.output(t)
	}
}

// readBack latches counts and status of the named counters
// [8254 Read-Back Command].
func (p *PIT) readBack(v uint8, t int64) {
	for i := range p.Counters {
		c := &p.Counters[i]
		if v>>(i+1)&1 == 0 {
			continue
		}
		c.settle(t)
		if v&readBackNoCnt == 0 {
			c.latch(t)
		}
		if v&readBackNoStat == 0 && !c.STATL {
			c.STATUS, c.STATL = c.status(t), true
		}
	}
}

// latch holds the count until it is read; a second latch before that does nothing.
func (c *counter) latch(t int64) {
	if c.LATN > 0 {
		return
	}
	c.LATCH, c.LATN = c.value(t), 1
	if c.RW == rwBoth {
		c.LATN = 2
	}
}

// write handles one byte of a count.
func (c *counter) write(v uint8, t int64) {
	switch {
	case c.RW == rwLow:
		c.written(uint16(v), t)
	case c.RW == rwHigh:
		c.written(uint16(v)<<8, t)
	case !c.WHIGH:
		c.WLOW, c.WHIGH = v, true
		if c.MODE == modeTerminal {
			c.RUN, c.PAUSED = false, false // the first byte stops the counter [8254 Mode 0]
		}
	default:
		c.WHIGH = false
		c.written(uint16(v)<<8|uint16(c.WLOW), t)
	}
}

func (h port61) Read(off uint64, size int) uint64 { return bus.ReadBytes(h.read, off, size) }

func (h port61) read(off uint64) uint8 {
	if off != 0 {
		return 0xff
	}
	t, v := h.p.now(), h.p.P61
	h.p.Counters[2].settle(t)
	if t/refreshTicks%2 != 0 {
		v |= p61Refresh
	}
	if h.p.Counters[2].out(t) {
		v |= p61Out2
	}
	return v
}

func (h port61) Write(off uint64, size int, v uint64) {
	if off != 0 {
		return
	}
	t := h.p.now()
	h.p.P61 = uint8(v) & p61Mask
	h.p.Counters[2].settle(t)
	h.p.Counters[2].setGate(h.p.P61&p61Gate2 != 0, t)
}

var regs = []devices.Reg{
	{Space: "pit", Off: 0, Size: 1, Name: "COUNTER0", Acc: devices.RC, Mask: 0xff, Banked: true, Bits: "7:0 COUNT", Ref: "[8254 Programming]"},
	{Space: "pit", Off: 1, Size: 1, Name: "COUNTER1", Acc: devices.RC, Mask: 0xff, Banked: true, Bits: "7:0 COUNT", Ref: "[8254 Programming]"},
	{Space: "pit", Off: 2, Size: 1, Name: "COUNTER2", Acc: devices.RC, Mask: 0xff, Banked: true, Bits: "7:0 COUNT", Ref: "[8254 Programming]"},
	{Space: "pit", Off: 3, Size: 1, Name: "CONTROL", Acc: devices.WO, Mask: 0xff, Bits: "7:6 SC | 5:4 RW | 3:1 M | 0 BCD", Ref: "[8254 Control Word Format]"},
	{Space: "port61", Off: 0, Size: 1, Name: "NMISC", Mask: p61Mask, Bits: "7 SERR | 6 IOCHK | 5 OUT2 | 4 REF | 3:2 ENABLES | 1 SPKR | 0 GATE2", Ref: "[PIIX3 NMISC]"},
}

// Regs describes the timer's registers.
func (p *PIT) Regs() []devices.Reg { return regs }

// Peek tells a register by its index in Regs, without side effects.
func (p *PIT) Peek(i int) uint64 {
	t := p.now()
	switch {
	case i < 3:
		c := p.Counters[i]
		c.settle(t)
		return uint64(c.value(t))
	case i == 3:
		return 0
	}
	return uint64(port61{p}.read(0))
}
