// Package debugcon models the debug console: a port whose bytes go to the host.
//
// Specification: [QEMU isa-debugcon]. Reads return e9, by which a guest finds
// the port. It is seen above the test device, whose ports cover the usual one.
package debugcon

import (
	"godwit/devices"
	"godwit/devices/bus"
)

// Port is the console's usual port, and what reading it returns.
const Port = 0xe9

// Sink takes what the guest writes.
type Sink interface{ Debug(b byte) }

// Wiring is what a Device is connected to.
type Wiring struct {
	ID   string
	Port uint16
	Out  Sink
}

type state struct {
	CHAR uint8 `cbor:"1,keyasint"` // last byte written, for people
}

// Device is the port.
type Device struct {
	state
	w Wiring
}

// New returns the console.
func New(w Wiring) *Device { return &Device{w: w} }

// ID returns the device's stable name.
func (d *Device) ID() string { return d.w.ID }

// Reset forgets the last byte.
func (d *Device) Reset(devices.ResetKind) { d.state = state{} }

// State returns the last byte; no guest can see it.
func (d *Device) State() any { return &d.state }

// Restored accepts any state.
func (d *Device) Restored() error { return nil }

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Windows lists the device's port.
func (d *Device) Windows() []bus.Window {
	return []bus.Window{{Name: "pio", IO: true, Base: uint64(d.w.Port), Size: 1, Handler: d, Over: true}}
}

// Read returns e9.
func (d *Device) Read(uint64, int) uint64 { return Port }

// Write passes a byte on.
func (d *Device) Write(_ uint64, _ int, v uint64) {
	d.CHAR = byte(v)
	d.w.Out.Debug(d.CHAR)
}

// Regs describes the device's registers.
func (d *Device) Regs() []devices.Reg {
	return []devices.Reg{{
		Space: "pio", Off: 0, Size: 1, Name: "CHAR", Acc: devices.RC, Mask: 0, Reset: Port,
		Bits: "7:0 CHAR", Ref: "[QEMU isa-debugcon]",
	}}
}
