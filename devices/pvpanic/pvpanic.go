// Package pvpanic models the port by which a guest's kernel says that it has
// crashed.
//
// Specification: [QEMU specs/pvpanic]. Modelled: both events. Not modelled: the
// PCI variant and the shutdown event.
package pvpanic

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// Port is where the ACPI tables say that the device is.
const Port = 0x505

// Events, as the guest writes them.
const (
	Panicked    = 1 << 0
	CrashLoaded = 1 << 1 // panicked, and a crash kernel takes over

	supported = Panicked | CrashLoaded
)

// Host is told of a guest's crash.
type Host interface {
	// Panic is called with one or both events, after the current instruction.
	Panic(events uint8)
}

// Wiring is what the device is connected to.
type Wiring struct {
	ID   string
	Host Host
}

type state struct {
	Events uint8 `cbor:"1,keyasint"` // that there were since the reset
}

// Device is the panic port.
type Device struct {
	state
	w Wiring
}

// New returns a port that nobody has written to.
func New(w Wiring) *Device { return &Device{w: w} }

// ID returns the device's stable name.
func (d *Device) ID() string { return d.w.ID }

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Reset forgets the events.
func (d *Device) Reset(kind devices.ResetKind) {
	if kind != devices.Init {
		d.state = state{}
	}
}

// Restored checks a decoded state.
func (d *Device) Restored() error {
	if d.Events&^supported != 0 {
		return fmt.Errorf("restore %s: events are %#x, only bits %#x are known", d.w.ID, d.Events, supported)
	}
	return nil
}

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Windows lists the device's port.
func (d *Device) Windows() []bus.Window {
	return []bus.Window{{Name: "pio", IO: true, Base: Port, Size: 1, Handler: d}}
}

// Read tells which events are supported.
func (d *Device) Read(uint64, int) uint64 { return supported }

// Write reports events; unknown ones are ignored.
func (d *Device) Write(_ uint64, _ int, v uint64) {
	if v &= supported; v != 0 {
		d.Events |= uint8(v)
		d.w.Host.Panic(uint8(v))
	}
}

// Regs describes the device's register.
func (d *Device) Regs() []devices.Reg {
	return []devices.Reg{
		{Space: "pio", Off: 0, Size: 1, Name: "EVENT", Acc: devices.RO, Reset: supported, Bits: "1 CRASH_LOADED | 0 PANICKED", Ref: "[QEMU specs/pvpanic]"},
	}
}
