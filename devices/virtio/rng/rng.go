// Package rng models the virtio entropy device.
//
// Specification: [VIRTIO 1.3 5.4]. Its bytes come from the machine's generator,
// whose state travels with the machine.
package rng

import (
	"encoding/binary"

	"godwit/devices"
	"godwit/devices/virtio"
)

// maxRequest is how many bytes a request gets at most; the driver asks again for
// more.
const maxRequest = 4096

type state struct {
	Virtio virtio.State `cbor:"1,keyasint"`
}

// Device is an entropy device.
type Device struct {
	state
	virtio.Transport
	rand func() uint64
}

// New puts an entropy device on the bus.
func New(w virtio.Wiring, rand func() uint64) *Device {
	d := &Device{rand: rand}
	d.Transport = virtio.New(w, virtio.Spec{ID: 4, Class: 0x00ff00, Queues: []uint16{64}}, &d.Virtio, d)
	return d
}

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Restart does nothing: there is no state beyond the transport's.
func (d *Device) Restart() {}

// ReadConfig is never called: there is no device configuration.
func (d *Device) ReadConfig(uint64, int) uint64 { return 0 }

// WriteConfig is ReadConfig for writes.
func (d *Device) WriteConfig(uint64, int, uint64) {}

// Serve fills the buffers of the only queue.
func (d *Device) Serve(q int) {
	old := d.Used(q)
	for range d.Available(q) {
		c := d.Next(q)
		if c == nil {
			break
		}
		n := d.fill(c)
		d.Take(q)
		d.Done(q, c.Head, n)
	}
	d.Signal(q, old)
}

func (d *Device) fill(c *virtio.Chain) uint32 {
	n := min(virtio.Bytes(c.In), maxRequest)
	var b [8]byte
	for off := uint64(0); off < n; off += 8 {
		binary.LittleEndian.PutUint64(b[:], d.rand())
		d.Scatter(c, off, b[:min(8, n-off)])
	}
	return uint32(n)
}
