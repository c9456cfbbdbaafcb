// Package balloon models the traditional virtio memory balloon.
//
// Specification: [VIRTIO 1.3 5.5]. Modelled: inflating and deflating, statistics,
// free page reporting. Not modelled: free page hinting and page poisoning.
//
// Queues are numbered without gaps over the features that the driver accepted, as
// Linux (virtio_balloon.c init_vqs) does.
package balloon

import (
	"encoding/binary"

	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/virtio"
)

// Feature bits [VIRTIO 1.3 5.5.3].
const (
	featureStats     = 1 << 1
	featureOOM       = 1 << 2
	featureReporting = 1 << 5
)

// Device configuration [VIRTIO 1.3 5.5.4].
const (
	offActual  = 4
	configSize = 8
)

const (
	pageShift = 12 // of page numbers, whatever the guest's pages are [VIRTIO 1.3 5.5.6]
	pageSize  = 1 << pageShift

	// maxPages bounds the page numbers in a request. Linux gives 256.
	maxPages = 1 << 16

	statSize = 10 // bytes: tag and value [VIRTIO 1.3 5.5.6.3]
	maxStats = 64 // that are looked at
)

// Tags is how many statistics are known, by tag [VIRTIO 1.3 5.5.6.4].
const Tags = 16

// Discarder frees the memory behind a page. The guest may find it zero or as it
// was, but the same in every run.
type Discarder interface{ Discard(pa uint64) }

type state struct {
	Virtio virtio.State `cbor:"1,keyasint"`
	Target uint32       `cbor:"2,keyasint"` // pages that the balloon should hold
	Actual uint32       `cbor:"3,keyasint"` // that it says it holds
	// Held: the driver's buffer for statistics, StatsHead, waits to be asked for.
	Held      bool         `cbor:"4,keyasint"`
	StatsHead uint16       `cbor:"5,keyasint"`
	Asked     bool         `cbor:"6,keyasint"` // they are asked for
	Known     uint16       `cbor:"7,keyasint"` // bit n: tag n was told
	Stats     [Tags]uint64 `cbor:"8,keyasint"`
}

// Device is a balloon.
type Device struct {
	state
	virtio.Transport
	host Discarder
}

// New puts a balloon on the bus. Without a host, pages stay as they are.
func New(w virtio.Wiring, host Discarder) *Device {
	d := &Device{host: host}
	d.Transport = virtio.New(w, virtio.Spec{
		ID: 5, Class: 0x00ff00, Features: featureStats | featureOOM | featureReporting,
		Queues: []uint16{128, 128, 64, 32}, ConfigSize: configSize, Regs: regs,
	}, &d.Virtio, d)
	return d
}

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Reset resets the device. What it should hold stays while there is power.
func (d *Device) Reset(kind devices.ResetKind) {
	if kind == devices.PowerOn {
		d.Target = 0
	}
	d.Transport.Reset(kind)
}

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Restart empties the balloon.
func (d *Device) Restart() {
	d.state = state{Virtio: d.Virtio, Target: d.Target}
}

// Resize asks the guest to give pages of 4 KiB away, or to take some back, until
// the balloon holds so many.
func (d *Device) Resize(pages uint32) {
	d.Target = pages
	d.Changed()
}

// Pages is how many pages the guest says it has given away.
func (d *Device) Pages() uint32 { return d.Actual }

// AskStats asks the guest for new statistics, if it has told any.
func (d *Device) AskStats() {
	if d.Held {
		d.Asked = true
		d.answer()
	}
}

// Stat is what the guest told last under a tag; false: nothing.
func (d *Device) Stat(tag int) (uint64, bool) { return d.Stats[tag], d.Known&(1<<tag) != 0 }

// Queues with fixed numbers; the others follow them.
const (
	inflateq = 0
	deflateq = 1
)

func (d *Device) statsq() int {
	if d.Has(featureStats) {
		return 2
	}
	return -1
}

func (d *Device) reportq() int {
	switch {
	case !d.Has(featureReporting):
		return -1
	case d.Has(featureStats):
		return 3
	}
	return 2
}

// Serve works on a queue.
func (d *Device) Serve(q int) {
	work := func(*virtio.Chain) bool { return true } // deflating: the pages are there
	next := d.Next
	switch q {
	case inflateq:
		work = d.inflate
	case d.statsq():
		d.answer()
		d.readStats()
		return
	case d.reportq():
		// Next would write to all of them: what is free came to be memory that the
		// guest had used, to be kept, saved and moved.
		work, next = d.report, d.Look
	}
	old := d.Used(q)
	for range d.Available(q) {
		c := next(q)
		if c == nil || !work(c) {
			break
		}
		d.Take(q)
		d.Done(q, c.Head, 0)
	}
	d.Signal(q, old)
}

// inflate discards the pages whose numbers are in a request. False: not now.
func (d *Device) inflate(c *virtio.Chain) bool {
	n := virtio.Bytes(c.Out) / 4
	if n > maxPages {
		d.Broken("inflated by too many pages at once")
		return false
	}
	if d.host == nil {
		return true
	}
	return d.eachPage(c, n, func(pa uint64) bool { return d.Touch(inflateq, pa, pageSize) }) &&
		d.eachPage(c, n, func(pa uint64) bool { d.host.Discard(pa); return true })
}

func (d *Device) eachPage(c *virtio.Chain, n uint64, f func(pa uint64) bool) bool {
	var b [4]byte
	for i := range n {
		d.Gather(c, 4*i, b[:])
		if !f(uint64(binary.LittleEndian.Uint32(b[:])) << pageShift) {
			return false
		}
	}
	return true
}

// report discards the pages that buffers consist of [VIRTIO 1.3 5.5.6.6]. False: not
// now.
func (d *Device) report(c *virtio.Chain) bool {
	if d.host == nil {
		return true
	}
	return eachWhole(c, func(pa uint64) bool { return d.Touch(d.reportq(), pa, pageSize) }) &&
		eachWhole(c, func(pa uint64) bool { d.host.Discard(pa); return true })
}

// eachWhole calls f for the whole pages of a chain's buffers to be written.
func eachWhole(c *virtio.Chain, f func(pa uint64) bool) bool {
	for _, s := range c.In {
		first := (s.Addr + pageSize - 1) &^ (pageSize - 1)
		for pa := first; pa >= s.Addr && pa-s.Addr+pageSize <= uint64(s.Len); pa += pageSize {
			if !f(pa) {
				return false
			}
		}
	}
	return true
}

// readStats takes the statistics and keeps their buffer, which the driver gets
// back when it is to tell them anew [VIRTIO 1.3 5.5.6.3].
func (d *Device) readStats() {
	q := d.statsq()
	for range d.Available(q) {
		if d.Held {
			d.GuestError("two buffers of statistics")
			return
		}
		c := d.Next(q)
		if c == nil {
			return
		}
		var b [statSize]byte
		for i := range uint64(maxStats) {
			if d.Gather(c, statSize*i, b[:]) < statSize {
				break
			}
			if tag := binary.LittleEndian.Uint16(b[:]); tag < Tags {
				d.Stats[tag] = binary.LittleEndian.Uint64(b[2:])
				d.Known |= 1 << tag
			}
		}
		d.Take(q)
		d.Held, d.StatsHead = true, c.Head
	}
}

// answer gives the buffer back.
func (d *Device) answer() {
	q := d.statsq()
	if !d.Held || !d.Asked || q < 0 || !d.Live() {
		return
	}
	old := d.Used(q)
	if d.Done(q, d.StatsHead, 0) {
		d.Held, d.Asked, d.StatsHead = false, false, 0
		d.Signal(q, old)
	}
}

// ReadConfig answers the device configuration.
func (d *Device) ReadConfig(off uint64, size int) uint64 {
	v := uint64(d.Actual)<<32 | uint64(d.Target)
	return bus.ReadBytes(func(o uint64) uint8 {
		if o < configSize {
			return uint8(v >> (8 * o))
		}
		return 0
	}, off, size)
}

// WriteConfig takes the driver's word for what the balloon holds.
func (d *Device) WriteConfig(off uint64, size int, v uint64) {
	bus.WriteBytes(func(o uint64, b uint8) {
		if o >= offActual && o < configSize {
			shift := 8 * (o - offActual)
			d.Actual = d.Actual&^(0xff<<shift) | uint32(b)<<shift
		}
	}, off, size, v)
}

var regs = []devices.Reg{
	{Space: "device", Off: 0, Size: 4, Name: "NUM_PAGES", Acc: devices.RO, Ref: "[VIRTIO 1.3 5.5.4]"},
	{Space: "device", Off: 4, Size: 4, Name: "ACTUAL", Mask: 0xffffffff, Ref: "[VIRTIO 1.3 5.5.4]"},
}
