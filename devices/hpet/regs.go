package hpet

import (
	"fmt"

	"godwit/devices"
)

// Read answers a guest's read of any part of a register.
func (h *HPET) Read(off uint64, size int) uint64 {
	return h.register(off&^7) >> (8 * (off & 7)) & (^uint64(0) >> (64 - 8*size))
}

func (h *HPET) register(off uint64) uint64 {
	switch off {
	case regID:
		return capability
	case regCONF:
		return uint64(h.Conf)
	case regSTA:
		return uint64(h.Sta)
	case regCOUNTER:
		return h.counter()
	}
	n, part := split(off)
	if n < Timers {
		switch part {
		case offCONF:
			return h.Timer[n].Conf | timFixed
		case offCOMP:
			return h.Timer[n].Comp
		}
	}
	return 0
}

// split finds the timer that a register belongs to, Timers or more if to none.
func split(off uint64) (n, part uint64) {
	if off < regTimers {
		return Timers, 0
	}
	return (off - regTimers) / timerSize, (off - regTimers) % timerSize
}

// Write answers a guest's write of a register or of half of one. Others are
// undefined [HPET 1.0a 2.3.2] and dropped.
func (h *HPET) Write(off uint64, size int, v uint64) {
	if size < 4 || off%uint64(size) != 0 {
		return
	}
	shift, m := 8*(off&7), ^uint64(0)
	if size == 4 {
		m = 0xffffffff << shift
	}
	h.store(off&^7, v<<shift, m)
}

// store writes bits m of a register.
func (h *HPET) store(off, v, m uint64) {
	switch off {
	case regCONF:
		h.configure(uint8(uint64(h.Conf)&^m | v&m))
		return
	case regSTA:
		h.Sta &^= uint8(v & m)
		h.drive()
		return
	case regCOUNTER:
		if !h.running() { // it can be written only while it stands still
			h.Offset = h.Offset&^m | v&m
		}
		return
	}
	n, part := split(off)
	if n >= Timers {
		return
	}
	switch part {
	case offCONF:
		if m&timMask != 0 {
			h.configureTimer(int(n), v)
		}
	case offCOMP:
		h.compare(int(n), v, m)
	}
}

var regs = makeRegs()

func makeRegs() []devices.Reg {
	rows := []devices.Reg{
		{
			Space: "mmio", Off: regID, Size: 8, Name: "GCAP_ID", Acc: devices.RO, Reset: capability,
			Bits: "63:32 PERIOD | 31:16 VENDOR | 15 LEG_RT | 13 COUNT_SIZE | 12:8 LAST_TIM | 7:0 REV", Ref: "[HPET 1.0a 2.3.4]",
		},
		{Space: "mmio", Off: regCONF, Size: 8, Name: "GEN_CONF", Mask: confMask, Bits: "1 LEG_RT | 0 ENABLE", Ref: "[HPET 1.0a 2.3.5]"},
		{Space: "mmio", Off: regSTA, Size: 8, Name: "GINTR_STA", Acc: devices.W1C, Mask: 1<<Timers - 1, Bits: "2 T2 | 1 T1 | 0 T0", Ref: "[HPET 1.0a 2.3.6]"},
		{Space: "mmio", Off: regCOUNTER, Size: 8, Name: "MAIN_CNT", Mask: ^uint64(0), Bits: "63:0 VALUE", Ref: "[HPET 1.0a 2.3.7]"},
	}
	for n := range uint64(Timers) {
		at := regTimers + timerSize*n
		rows = append(rows,
			devices.Reg{
				Space: "mmio", Off: at + offCONF, Size: 8, Name: fmt.Sprintf("T%d_CONF", n), Mask: timMask, Reset: timFixed,
				Bits: "63:32 ROUTES | 13:9 ROUTE | 8 32MODE | 6 VAL_SET | 5 SIZE | 4 PER_CAP | 3 PERIODIC | 2 ENABLE | 1 LEVEL", Ref: "[HPET 1.0a 2.3.8]",
			},
			devices.Reg{
				Space: "mmio", Off: at + offCOMP, Size: 8, Name: fmt.Sprintf("T%d_COMP", n), Mask: ^uint64(0), Reset: ^uint64(0),
				Bits: "63:0 VALUE", Ref: "[HPET 1.0a 2.3.9]",
			})
	}
	return rows
}

// Regs describes the block's registers.
func (h *HPET) Regs() []devices.Reg { return regs }
