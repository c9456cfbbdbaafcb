// Package console models the virtio console device with one port.
//
// Specification: [VIRTIO 1.3 5.3]. Modelled: the port's two queues, its size, and
// the emergency write. Not modelled: more ports (VIRTIO_CONSOLE_F_MULTIPORT).
package console

import (
	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/virtio"
)

// Feature bits [VIRTIO 1.3 5.3.3].
const (
	featureSize      = 1 << 0
	featureEmergency = 1 << 2
)

// Queues of port 0 [VIRTIO 1.3 5.3.2], as the driver sees them.
const (
	receiveq  = 0
	transmitq = 1
)

// Device configuration [VIRTIO 1.3 5.3.4].
const (
	offEmergency = 8
	configSize   = 12
)

// The size of a terminal that has not said otherwise.
const (
	defaultCols = 80
	defaultRows = 25
)

// maxSend bounds the bytes of one request, which are sent at once. Linux writes at
// most 32 KiB (virtio_console.c port_fops_write).
const maxSend = 64 << 10

// Sink takes the bytes that the guest sends.
type Sink interface{ Send(b byte) }

type state struct {
	Virtio virtio.State `cbor:"1,keyasint"`
	Cols   uint16       `cbor:"2,keyasint"`
	Rows   uint16       `cbor:"3,keyasint"`
}

// Device is a console.
type Device struct {
	state
	virtio.Transport
	out   Sink
	ready func()
}

// New puts a console on the bus. ready, if not nil, is told that the guest has
// given room for input: a good moment to plan the next Receive.
func New(w virtio.Wiring, out Sink, ready func()) *Device {
	d := &Device{out: out, ready: ready}
	d.Transport = virtio.New(w, virtio.Spec{
		ID: 3, Class: 0x078000, Features: featureSize | featureEmergency, Queues: []uint16{64, 64},
		ConfigSize: configSize, Regs: regs,
	}, &d.Virtio, d)
	d.Cols, d.Rows = defaultCols, defaultRows
	return d
}

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Reset resets the device. Its terminal keeps its size while there is power.
func (d *Device) Reset(kind devices.ResetKind) {
	if kind == devices.PowerOn {
		d.Cols, d.Rows = defaultCols, defaultRows
	}
	d.Transport.Reset(kind)
}

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Restart does nothing: there is no state beyond the transport's and the size.
func (d *Device) Restart() {}

// Serve sends what the guest has written, or hears of room for input.
func (d *Device) Serve(q int) {
	if q == receiveq {
		if d.ready != nil {
			d.ready()
		}
		return
	}
	old := d.Used(q)
	for range d.Available(q) {
		c := d.Next(q)
		if c == nil {
			break
		}
		if virtio.Bytes(c.Out) > maxSend {
			d.Broken("too many bytes to send at once")
			break
		}
		d.send(c)
		d.Take(q)
		d.Done(q, c.Head, 0)
	}
	d.Signal(q, old)
}

func (d *Device) send(c *virtio.Chain) {
	var b [256]byte
	for off := uint64(0); ; {
		n := d.Gather(c, off, b[:])
		if n == 0 {
			return
		}
		for _, v := range b[:n] {
			d.out.Send(v)
		}
		off += uint64(n)
	}
}

// Receive gives the guest as many of the bytes as it has room for, and returns how
// many.
func (d *Device) Receive(p []byte) int {
	old, n := d.Used(receiveq), 0
	for left := d.Available(receiveq); left > 0 && n < len(p); left-- {
		c := d.Next(receiveq)
		if c == nil {
			break
		}
		k := d.Scatter(c, 0, p[n:])
		d.Take(receiveq)
		d.Done(receiveq, c.Head, uint32(k))
		n += k
	}
	d.Signal(receiveq, old)
	return n
}

// Room returns how many bytes there is room for. Receive takes less where it uses
// buffers partly.
func (d *Device) Room() uint64 { return d.Capacity(receiveq) }

// Resize tells the guest of its terminal's new size.
func (d *Device) Resize(cols, rows uint16) {
	d.Cols, d.Rows = cols, rows
	d.Changed()
}

// ReadConfig answers the device configuration.
func (d *Device) ReadConfig(off uint64, size int) uint64 {
	const ports = 1
	v := [configSize]byte{byte(d.Cols), byte(d.Cols >> 8), byte(d.Rows), byte(d.Rows >> 8), ports}
	return bus.ReadBytes(func(o uint64) uint8 {
		if o < configSize {
			return v[o]
		}
		return 0
	}, off, size)
}

// WriteConfig sends a byte in an emergency, which works before the driver has set
// anything up [VIRTIO 1.3 5.3.4].
func (d *Device) WriteConfig(off uint64, _ int, v uint64) {
	if off == offEmergency {
		d.out.Send(byte(v))
	}
}

var regs = []devices.Reg{
	{Space: "device", Off: 0, Size: 2, Name: "COLS", Acc: devices.RO, Reset: defaultCols, Ref: "[VIRTIO 1.3 5.3.4]"},
	{Space: "device", Off: 2, Size: 2, Name: "ROWS", Acc: devices.RO, Reset: defaultRows, Ref: "[VIRTIO 1.3 5.3.4]"},
	{Space: "device", Off: 4, Size: 4, Name: "MAX_NR_PORTS", Acc: devices.RO, Reset: 1, Ref: "[VIRTIO 1.3 5.3.4]"},
	{Space: "device", Off: 8, Size: 4, Name: "EMERG_WR", Acc: devices.WO, Mask: 0xff, Ref: "[VIRTIO 1.3 5.3.4]"},
}
