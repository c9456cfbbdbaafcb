// Package blk models the virtio block device.
//
// Specification: [VIRTIO 1.3 5.2]. Modelled: any number of queues, reads, writes,
// flushes, discards, writes of zeroes, the identity, the choice between write-back
// and write-through. Not modelled: secure erase, lifetime metrics, zones, SCSI
// commands; a driver is not offered them, and told so if it asks.
//
// Requests take effect on the disk in the order in which the driver made them
// available, queue by queue as it notified; overlapping ones never overtake each
// other. What is written is copied out of guest memory when a request is taken,
// what was read is copied in when it is completed. In between a request is part of
// the state, and completes at an instant that only its size and those before it
// decide: a host that is slower makes the guest stand still, one that is faster
// waits.
package blk

import (
	"context"
	"encoding/binary"
	"fmt"

	"godwit/devices"
	"godwit/devices/virtio"
)

// Disk is the host's side. A call begins a request and returns; requests take
// effect in the order of the calls, and one that cannot is repeated by the host
// until it can. Offsets and lengths are in bytes and within the disk.
type Disk interface {
	Size() int64
	ReadOnly() bool
	Read(n, off int64)
	// Write does not change p, which must not change before it is finished.
	// With through it is finished when the data is on stable storage.
	Write(p []byte, off int64, through bool)
	Flush()
	// Discard gives a range back; it reads as zeros.
	Discard(off, n int64)
	WriteZeroes(off, n int64, unmap bool)
	// Collect tells that one more request is finished, in the order in which they
	// were begun, and what it has read.
	Collect() (data []byte, ok bool)
	// Forget has Collect leave out what has been begun so far, which goes on.
	Forget()
	// Drain waits until all that was begun is finished, or cannot be for now.
	Drain(ctx context.Context) error
}

// Feature bits [VIRTIO 1.3 5.2.3].
const (
	featureSegMax      = 1 << 2
	featureReadOnly    = 1 << 5
	featureBlockSize   = 1 << 6
	featureFlush       = 1 << 9
	featureTopology    = 1 << 10
	featureWriteback   = 1 << 11
	featureMQ          = 1 << 12
	featureDiscard     = 1 << 13
	featureWriteZeroes = 1 << 14
)

// Types of requests [VIRTIO 1.3 5.2.6].
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeGetID       = 8
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// Status of a request.
const (
	statusOK    = 0
	statusError = 1
	statusUnsup = 2
)

// Bounds and sizes.
const (
	sector    = 512
	headSize  = 16
	rangeSize = 16 // of a discard or a write of zeroes
	flagUnmap = 1 << 0

	// SerialLen is how many bytes of a serial number a guest can see.
	SerialLen = 20

	queueSize = 256
	segMax    = queueSize - 2 // of data: the head and the status have their own

	maxRange = 1 << 22 // sectors of a discard or a write of zeroes: 2 GiB

	// What may be in flight: a driver that reuses descriptors early could ask for
	// any number of requests. One of more bytes is taken alone.
	maxRequests = 1024
	maxBytes    = 32 << 20
)

// The disk as a guest in virtual time meets it: nanoseconds. Transfers follow each
// other, latencies do not add up.
const (
	latency      = 50_000
	flushLatency = 200_000
	bytesPerNano = 1 // 1 GB/s
)

// request is one in flight.
type request struct {
	Queue   uint16           `cbor:"1,keyasint"`
	Head    uint16           `cbor:"2,keyasint"`
	In      []virtio.Segment `cbor:"3,keyasint"` // for what was read and, in the last byte, the status
	Type    uint32           `cbor:"4,keyasint"`
	Through bool             `cbor:"5,keyasint"` // a write to stable storage; zeroes that free their space
	Off     int64            `cbor:"6,keyasint"` // bytes
	Len     int64            `cbor:"7,keyasint"`
	// Data is to be written; or was read, once Finished.
	Data     []byte `cbor:"8,keyasint"`
	Due      int64  `cbor:"9,keyasint"` // guest time; 0: when it arrives
	Finished bool   `cbor:"10,keyasint"`
	Status   uint8  `cbor:"11,keyasint"`
}

type state struct {
	Virtio    virtio.State `cbor:"1,keyasint"`
	Writeback bool         `cbor:"2,keyasint"` // the driver's choice
	Requests  []request    `cbor:"3,keyasint"` // in flight, oldest first
	Busy      int64        `cbor:"4,keyasint"` // guest time at which the transfers so far end
	Arrived   uint32       `cbor:"5,keyasint"` // how many of Requests may complete; see Arrive
	Waiting   bool         `cbor:"6,keyasint"` // Late or Stall was called: Retry completes what is due
}

// Wiring is what a block device is connected to beside its transport.
type Wiring struct {
	Disk Disk
	// Clock decides when requests complete; nil: Arrive does.
	Clock  devices.Clock
	Serial string
	Queues int
	// Late asks the machine to run no instruction before it has called Retry, which
	// makes sense once the disk has finished another request.
	Late func()
}

// Device is a disk.
type Device struct {
	state
	virtio.Transport
	w Wiring
}

// New puts a disk on the bus.
func New(v virtio.Wiring, w Wiring) *Device {
	d := &Device{w: w}
	features := uint64(featureSegMax | featureBlockSize | featureFlush | featureTopology | featureWriteback | featureMQ)
	if w.Disk.ReadOnly() {
		features |= featureReadOnly
	} else {
		features |= featureDiscard | featureWriteZeroes
	}
	queues := make([]uint16, w.Queues)
	for i := range queues {
		queues[i] = queueSize
	}
	d.Transport = virtio.New(v, virtio.Spec{
		ID: 2, Class: 0x010000, Features: features, Queues: queues, ConfigSize: configSize, Regs: d.regs(),
	}, &d.Virtio, d)
	d.Writeback = true
	return d
}

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Restart forgets what is in flight: its effects on the disk stay, its results go
// nowhere.
func (d *Device) Restart() {
	d.w.Disk.Forget()
	d.state = state{Virtio: d.Virtio, Writeback: true}
	if d.w.Clock != nil {
		d.w.Clock.Never(eventDue)
	}
}

// Restored checks a decoded state.
func (d *Device) Restored() error {
	if len(d.Requests) > maxRequests {
		return fmt.Errorf("restore %s: %d requests in flight, at most %d", d.ID(), len(d.Requests), maxRequests)
	}
	if int(d.Arrived) > len(d.Requests) {
		return fmt.Errorf("restore %s: %d of %d requests have arrived", d.ID(), d.Arrived, len(d.Requests))
	}
	if d.Busy < 0 || d.Busy > 1<<62 {
		return fmt.Errorf("restore %s: busy until %d ns", d.ID(), d.Busy)
	}
	for i := range d.Requests {
		if err := d.check(&d.Requests[i]); err != nil {
			return fmt.Errorf("restore %s: request %d: %w", d.ID(), i, err)
		}
	}
	return d.Transport.Restored()
}

// check says what is wrong with a request of a decoded state.
func (d *Device) check(r *request) error {
	switch {
	case int(r.Queue) >= d.w.Queues:
		return fmt.Errorf("of queue %d of %d", r.Queue, d.w.Queues)
	case r.Off < 0 || r.Len < 0 || r.Off > d.w.Disk.Size() || r.Len > d.w.Disk.Size()-r.Off:
		return fmt.Errorf("%d bytes at %d of %d", r.Len, r.Off, d.w.Disk.Size())
	case !r.Finished && !hostWork(r.Type):
		return fmt.Errorf("type %d waits for the host", r.Type)
	case !r.Finished && r.Type != typeIn && r.Type != typeFlush && d.w.Disk.ReadOnly():
		return fmt.Errorf("type %d on a disk to be read", r.Type)
	case !r.Finished && r.Type == typeOut && int64(len(r.Data)) != r.Len:
		return fmt.Errorf("%d bytes to write, %d are there", r.Len, len(r.Data))
	case len(r.In) == 0 || len(r.In) > virtio.MaxSegments || virtio.Bytes(r.In) > virtio.MaxChain:
		return fmt.Errorf("room of %d bytes in %d segments", virtio.Bytes(r.In), len(r.In))
	case !r.Finished && r.Type == typeIn && r.Len != int64(virtio.Bytes(r.In))-1:
		return fmt.Errorf("%d bytes to read, room for %d", r.Len, virtio.Bytes(r.In)-1)
	case uint64(len(r.Data)) > virtio.MaxChain:
		return fmt.Errorf("%d bytes of data", len(r.Data))
	case (r.Due == 0) != (d.w.Clock == nil) || r.Due < 0:
		return fmt.Errorf("due at %d ns", r.Due)
	}
	return nil
}

func hostWork(typ uint32) bool {
	switch typ {
	case typeIn, typeOut, typeFlush, typeDiscard, typeWriteZeroes:
		return true
	}
	return false
}

// Serve takes what the driver has made available.
func (d *Device) Serve(q int) {
	for range d.Available(q) {
		if d.full() {
			d.Virtio.Queues[q].Kicked = true // until there is room
			return
		}
		c := d.Look(q)
		if c == nil {
			return
		}
		r, ok := d.parse(q, c)
		if !ok {
			return
		}
		d.Take(q)
		d.schedule(&r)
		if !r.Finished {
			d.start(&r)
		}
		d.Requests = append(d.Requests, r)
	}
	d.collect()
}

func (d *Device) full() bool {
	bytes := int64(0)
	for i := range d.Requests {
		bytes += d.Requests[i].moved()
	}
	return len(d.Requests) >= maxRequests || bytes >= maxBytes
}

// moved is how many bytes a request transfers.
func (r *request) moved() int64 {
	if r.Type == typeIn || r.Type == typeOut {
		return r.Len
	}
	return 0
}

// parse makes a request of a chain [VIRTIO 1.3 5.2.6]. False: the driver is at
// fault beyond an error status.
func (d *Device) parse(q int, c *virtio.Chain) (request, bool) {
	var h [headSize]byte
	room := virtio.Bytes(c.In)
	if d.Gather(c, 0, h[:]) < headSize || room == 0 {
		d.Broken("request without a header or a status")
		return request{}, false
	}
	r := request{Queue: uint16(q), Head: c.Head, In: append([]virtio.Segment(nil), c.In...), Type: binary.LittleEndian.Uint32(h[:])}
	at := binary.LittleEndian.Uint64(h[8:])
	switch r.Type {
	case typeIn:
		d.place(&r, at, room-1)
	case typeOut:
		d.place(&r, at, virtio.Bytes(c.Out)-headSize)
		if d.writable(&r) {
			r.Data = make([]byte, r.Len)
			d.Gather(c, headSize, r.Data)
			r.Through = !d.Has(featureFlush) || !d.Writeback
		}
	case typeFlush:
	case typeGetID:
		r.Data = make([]byte, min(SerialLen, room-1))
		copy(r.Data, d.w.Serial)
		r.Finished = true
	case typeDiscard, typeWriteZeroes:
		d.spread(&r, c)
	default:
		r.fail(statusUnsup)
	}
	return r, true
}

// fail ends a request without the disk.
func (r *request) fail(status uint8) {
	*r = request{Queue: r.Queue, Head: r.Head, In: r.In, Type: r.Type, Finished: true, Status: status}
}

// place checks where a request reads or writes.
func (d *Device) place(r *request, at, n uint64) {
	size := uint64(d.w.Disk.Size())
	if n%sector != 0 || at > size/sector || n > size-at*sector {
		d.GuestError("request beyond the disk or of a part of a sector")
		r.fail(statusError)
		return
	}
	r.Off, r.Len = int64(at*sector), int64(n)
}

func (d *Device) writable(r *request) bool {
	if !r.Finished && d.w.Disk.ReadOnly() {
		d.GuestError("write to a disk to be read")
		r.fail(statusError)
	}
	return !r.Finished
}

// spread reads the range of a discard or of a write of zeroes; the limits in the
// configuration allow one [VIRTIO 1.3 5.2.6.2].
func (d *Device) spread(r *request, c *virtio.Chain) {
	var b [rangeSize]byte
	d.Gather(c, headSize, b[:])
	at, n, flags := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	allowed := uint32(0)
	if r.Type == typeWriteZeroes {
		allowed = flagUnmap
	}
	switch {
	case d.w.Disk.ReadOnly() || flags&^allowed != 0:
		r.fail(statusUnsup)
	case virtio.Bytes(c.Out) != headSize+rangeSize || n == 0 || n > maxRange:
		d.GuestError("bad ranges to discard or zero")
		r.fail(statusError)
	default:
		r.Through = flags&flagUnmap != 0
		d.place(r, at, uint64(n)*sector)
	}
}

// start has the host begin.
func (d *Device) start(r *request) {
	switch r.Type {
	case typeIn:
		d.w.Disk.Read(r.Len, r.Off)
	case typeOut:
		d.w.Disk.Write(r.Data, r.Off, r.Through)
	case typeFlush:
		d.w.Disk.Flush()
	case typeDiscard:
		d.w.Disk.Discard(r.Off, r.Len)
	case typeWriteZeroes:
		d.w.Disk.WriteZeroes(r.Off, r.Len, r.Through)
	}
}
