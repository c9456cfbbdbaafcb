// Package testdev models the device that QEMU offers to system tests of x86:
// an echo register, and ports that drive interrupt lines.
//
// Specification: [QEMU pc-testdev]. Modelled: ports e0-e3 and e8-eb, which read
// and write the bytes of one register; port e4, whose writes make QEMU map a
// page of guest memory anew, which no guest can observe here; ports 2000-2017,
// which set the line of that interrupt request to the value being non-zero.
// The 64 KiB of memory at ff000000 are the machine's: see Base and Size.
package testdev

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Places of the device.
const (
	Ports   = 0xe0
	IRQPort = 0x2000
	IRQs    = 24
	Base    = 0xff000000 // memory that belongs to the device
	Size    = 0x10000
)

// Offsets in the first window.
const (
	offData  = 0
	offFlush = 4
	offBytes = 8
	ports    = 12
)

// Wiring is what a Device is connected to.
type Wiring struct {
	ID  string
	IRQ func(n int, level bool) // drives one source of interrupt request n
}

type state struct {
	DATA uint32 `cbor:"1,keyasint"`
}

// Device is the test device.
type Device struct {
	state
	w Wiring
}

// New returns a device as after power-on.
func New(w Wiring) *Device { return &Device{w: w} }

// ID returns the device's stable name.
func (d *Device) ID() string { return d.w.ID }

// Reset clears the register and releases the lines.
func (d *Device) Reset(kind devices.ResetKind) {
	if kind == devices.Init {
		return
	}
	d.state = state{}
	for n := range IRQs {
		d.w.IRQ(n, false)
	}
}

// State returns the guest-visible state; line levels are the machine's.
func (d *Device) State() any { return &d.state }

// Restored accepts any state.
func (d *Device) Restored() error { return nil }

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Windows lists the device's ports.
func (d *Device) Windows() []bus.Window {
	return []bus.Window{
		{Name: "pio", IO: true, Base: Ports, Size: ports, Handler: d},
		{Name: "irq", IO: true, Base: IRQPort, Size: IRQs, Handler: irqs{d}},
	}
}

// Read returns bytes of the register; the flush port reads 0.
func (d *Device) Read(off uint64, size int) uint64 {
	return bus.ReadBytes(d.readByte, off, size)
}

// Write changes bytes of the register.
func (d *Device) Write(off uint64, size int, v uint64) {
	bus.WriteBytes(d.writeByte, off, size, v)
}

// echoes tells whether a port shows the register, and which of its bytes.
func echoes(off uint64) (shift uint64, ok bool) {
	return off & 3 * 8, off < offFlush || off >= offBytes
}

func (d *Device) readByte(off uint64) uint8 {
	shift, ok := echoes(off)
	if !ok {
		return 0
	}
	return uint8(d.DATA >> shift)
}

func (d *Device) writeByte(off uint64, v uint8) {
	if shift, ok := echoes(off); ok {
		d.DATA = d.DATA&^(0xff<<shift) | uint32(v)<<shift
	}
}

// irqs is the window of the interrupt lines.
type irqs struct{ d *Device }

// Read returns 0.
func (irqs) Read(uint64, int) uint64 { return 0 }

// Write drives one line. Accesses wider than a byte are not answered.
func (i irqs) Write(off uint64, size int, v uint64) {
	if size == 1 && off < IRQs {
		i.d.w.IRQ(int(off), v != 0)
	}
}

// Regs describes the device's registers.
func (d *Device) Regs() []devices.Reg {
	return []devices.Reg{
		{Space: "pio", Off: offData, Size: 4, Name: "DATA", Mask: 0xffffffff, Bits: "31:0 DATA", Ref: "[QEMU pc-testdev]"},
		{Space: "pio", Off: offFlush, Size: 4, Name: "FLUSH", Acc: devices.WO, Mask: 0xffffffff, Bits: "31:12 PAGE", Ref: "[QEMU pc-testdev]"},
		{Space: "pio", Off: offBytes, Size: 4, Name: "BYTES", Mask: 0xffffffff, Banked: true, Bits: "31:0 DATA", Ref: "[QEMU pc-testdev]"},
	}
}
