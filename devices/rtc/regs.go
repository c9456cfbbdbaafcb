package rtc

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// Windows lists the clock's ports.
func (r *RTC) Windows() []bus.Window {
	return []bus.Window{{Name: "pio", IO: true, Base: Port, Size: 2, Handler: r}}
}

// Read answers a guest's read; the index cannot be read.
func (r *RTC) Read(off uint64, size int) uint64 { return bus.ReadBytes(r.read, off, size) }

func (r *RTC) read(off uint64) uint8 {
	if off != 1 {
		return 0xff
	}
	i := r.INDEX & indexMask
	if i != regC {
		return r.peek(i)
	}
	r.sync()
	v := r.peek(regC)
	r.C = 0
	r.update()
	return v
}

// peek reads a register without its side effects; C is as of the last sync.
func (r *RTC) peek(i uint8) uint8 {
	t := r.w.Clock.Now()
	switch {
	case i == regA:
		if r.updating() && second-r.elapsed(t)%second <= uipTime {
			return r.A | aUIP
		}
		return r.A
	case i == regB:
		return r.B
	case i == regC && r.C&r.B&cFlags != 0:
		return r.C | cIRQF
	case i == regC:
		return r.C
	case i == regD:
		return dVRT
	case isTime(i) && r.updating():
		return r.timeReg(i, r.secs(t))
	}
	return r.RAM[i]
}

// Write takes a guest's write.
func (r *RTC) Write(off uint64, size int, v uint64) { bus.WriteBytes(r.write, off, size, v) }

func (r *RTC) write(off uint64, v uint8) {
	switch off {
	case 0:
		r.INDEX = v
	case 1:
		r.sync()
		r.writeReg(r.INDEX&indexMask, v)
		r.update()
	}
}

func (r *RTC) writeReg(i, v uint8) {
	switch {
	case i == regA:
		r.writeControl(v&aMask, r.B)
	case i == regB:
		if v&bSET != 0 {
			v &^= bUIE // [MC146818A Register B, SET]
		}
		r.writeControl(r.A, v)
	case i == regC || i == regD:
	case isTime(i) && r.updating():
		t := r.w.Clock.Now()
		r.freeze(t)
		r.RAM[i] = v
		r.thaw(t)
	default:
		r.RAM[i] = v
	}
}

// writeControl changes registers A and B. Why in this order: the time is written
// down in the old format when it stops, and read in the new one when it runs again.
func (r *RTC) writeControl(a, b uint8) {
	t := r.w.Clock.Now()
	counted, updated := r.counting(), r.updating()
	was := r.B
	r.A = a
	if r.counting() && !counted {
		// The first update comes half a second after the divider's release
		// [MC146818A Register A, DV].
		r.BASE = t - second/2
	}
	r.B = b
	if now := r.updating(); updated && !now {
		r.B = was
		r.freeze(t)
		r.B = b
	} else if now && !updated {
		r.thaw(t)
	}
}

// Regs describes the ports, and the registers behind the index.
func (r *RTC) Regs() []devices.Reg { return regs }

var regs = makeRegs()

func makeRegs() []devices.Reg {
	rs := []devices.Reg{
		{Space: "pio", Off: 0, Size: 1, Name: "INDEX", Acc: devices.WO, Mask: 0xff, Bits: "7 NMIMASK | 6:0 INDEX", Ref: "[PIIX3 NMIERTC]"},
		{Space: "pio", Off: 1, Size: 1, Name: "DATA", Mask: 0xff, Banked: true, Bits: "7:0 DATA", Ref: "[PIIX3 NMIERTC]"},
	}
	for i, name := range [...]string{
		"SECONDS", "SECONDS_ALARM", "MINUTES", "MINUTES_ALARM", "HOURS", "HOURS_ALARM",
		"WEEKDAY", "DAY", "MONTH", "YEAR",
	} {
		rs = append(rs, devices.Reg{
			Space: "index", Off: uint64(i), Size: 1, Name: name, Mask: 0xff, Banked: true,
			Bits: "7:0 VALUE", Ref: "[MC146818A Table 2]",
		})
	}
	rs = append(rs,
		devices.Reg{Space: "index", Off: regA, Size: 1, Name: "A", Mask: aMask, Reset: 0x26, Banked: true, Bits: "7 UIP | 6:4 DV | 3:0 RS", Ref: "[MC146818A Register A]"},
		devices.Reg{Space: "index", Off: regB, Size: 1, Name: "B", Mask: 0xff, Reset: b24, Banked: true, Bits: "7 SET | 6 PIE | 5 AIE | 4 UIE | 3 SQWE | 2 DM | 1 H24 | 0 DSE", Ref: "[MC146818A Register B]"},
		devices.Reg{Space: "index", Off: regC, Size: 1, Name: "C", Acc: devices.RC, Banked: true, Bits: "7 IRQF | 6 PF | 5 AF | 4 UF", Ref: "[MC146818A Register C]"},
		devices.Reg{Space: "index", Off: regD, Size: 1, Name: "D", Acc: devices.RO, Reset: dVRT, Banked: true, Bits: "7 VRT", Ref: "[MC146818A Register D]"},
	)
	for i := uint64(regD + 1); i < 128; i++ {
		name := fmt.Sprintf("RAM%02X", i)
		if i == Century {
			name = "CENTURY"
		}
		rs = append(rs, devices.Reg{
			Space: "index", Off: i, Size: 1, Name: name, Mask: 0xff, Banked: true,
			Bits: "7:0 VALUE", Ref: "[MC146818A Figure 10]",
		})
	}
	return rs
}

// Peek tells a register by its index in Regs, without side effects.
func (r *RTC) Peek(i int) uint64 {
	switch reg := regs[i]; {
	case reg.Space == "index":
		return uint64(r.peek(uint8(reg.Off)))
	case reg.Off == 0:
		return uint64(r.INDEX)
	default:
		return uint64(r.peek(r.INDEX & indexMask))
	}
}
