// Package debugexit models the test device that ends a run: a write to its port
// stops the machine with that value.
//
// Specification: [QEMU isa-debug-exit]. The machine turns the code into an exit
// status. Reads return 0.
package debugexit

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Port is the device's I/O port.
const Port = 0xf4

// Exiter is told that the guest asks for the end of the run.
type Exiter interface {
	// Exit stops the machine after the current instruction.
	Exit(code uint32)
}

// Wiring is what a Device is connected to.
type Wiring struct {
	ID   string
	Exit Exiter
}

type state struct {
	Code    uint32 `cbor:"1,keyasint"` // last value written
	Written bool   `cbor:"2,keyasint"` // there was one
}

// Device is the debug exit port.
type Device struct {
	state
	w Wiring
}

// New returns a port that nobody has written to.
func New(w Wiring) *Device { return &Device{w: w} }

// ID returns the device's stable name.
func (d *Device) ID() string { return d.w.ID }

// Reset forgets the last code.
func (d *Device) Reset(devices.ResetKind) { d.state = state{} }

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Restored accepts any state.
func (d *Device) Restored() error { return nil }

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Windows lists the device's ports.
func (d *Device) Windows() []bus.Window {
	return []bus.Window{{Name: "pio", IO: true, Base: Port, Size: 4, Handler: d}}
}

// Read returns 0.
func (d *Device) Read(uint64, int) uint64 { return 0 }

// Write ends the run with v; only the first port counts.
func (d *Device) Write(off uint64, size int, v uint64) {
	if off != 0 {
		return
	}
	if size < 4 {
		v &= 1<<(8*size) - 1
	}
	d.Code, d.Written = uint32(v), true
	d.w.Exit.Exit(d.Code)
}

// Regs describes the device's registers.
func (d *Device) Regs() []devices.Reg {
	return []devices.Reg{
		{
			Space: "pio", Off: 0, Size: 4, Name: "EXIT", Acc: devices.WO, Mask: 0xffffffff,
			Bits: "31:0 CODE", Ref: "[QEMU isa-debug-exit]",
		},
	}
}
