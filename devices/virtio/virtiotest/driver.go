// Package virtiotest is a driver's side of virtio, for tests: guest memory, a bus
// and a driver that sets up split rings as a guest would.
package virtiotest

import (
	"encoding/binary"

	"godwit/devices"
	"godwit/devices/bus"
	"godwit/devices/pci"
	"godwit/devices/virtio"
	"godwit/mem"
)

// RAM is guest memory from address 0. Beyond it there is none.
type RAM struct {
	B []byte
	// Away is a page that is absent, 0: none.
	Away uint64
	// Full makes writes fail after Room more pages.
	Full bool
	Room int
	// Pages that were written since the last Epoch need no room.
	written map[uint64]bool
}

// NewRAM makes memory of n bytes.
func NewRAM(n int) *RAM { return &RAM{B: make([]byte, n), written: map[uint64]bool{}} }

// Epoch makes all pages need room again.
func (r *RAM) Epoch() { r.written = map[uint64]bool{} }

// Read copies from memory; false: part of it is absent.
func (r *RAM) Read(pa uint64, b []byte) bool {
	if r.absent(pa, b) {
		return false
	}
	for i := range b {
		b[i] = 0xff
	}
	if pa < uint64(len(r.B)) {
		copy(b, r.B[pa:])
	}
	return true
}

func (r *RAM) absent(pa uint64, b []byte) bool {
	return r.Away != 0 && len(b) != 0 && pa>>12 <= r.Away && (pa+uint64(len(b))-1)>>12 >= r.Away
}

// Write copies to memory; false: there is no room for a page's old content, or a
// page is absent.
func (r *RAM) Write(pa uint64, b []byte) bool {
	if r.absent(pa, b) {
		return false
	}
	for i, v := range b {
		at := pa + uint64(i)
		if at >= uint64(len(r.B)) {
			continue
		}
		if page := at >> 12; r.Full && !r.written[page] {
			if r.Room == 0 {
				return false
			}
			r.Room--
			r.written[page] = true
		}
		r.B[at] = v
	}
	return true
}

// Bus is a machine's bus with its memory and ports.
type Bus struct {
	*pci.Bus
	Ports, Memory mem.Space
}

// NewBus makes an empty bus.
func NewBus() *Bus {
	b := &Bus{}
	b.Bus = pci.NewBus(&b.Ports, &b.Memory)
	return b
}

// Where the driver puts things.
const (
	QueueBase = 0x10000 // queue n's parts from QueueBase*(n+1) on
	availPart = 0x4000
	usedPart  = 0x8000
	buffers   = 0x80000
)

// Descriptor flags.
const (
	Next     = 1
	Write    = 2
	Indirect = 4
)

// Driver drives one device.
type Driver struct {
	RAM   *RAM
	Size  uint16 // of each queue; 0: the device's
	queue []queue
	next  uint64 // free memory
	ws    map[string]devices.Handler
}

type queue struct {
	size  uint16
	desc  uint16 // next to use
	avail uint16
	seen  uint16
}

// Used is an entry of the used ring.
type Used struct {
	Head uint16
	Len  uint32
}

// NewDriver finds a device by its windows.
func NewDriver(t interface{ Spaces() []bus.Window }, ram *RAM) *Driver {
	d := &Driver{RAM: ram, next: buffers, ws: map[string]devices.Handler{}}
	for _, w := range t.Spaces() {
		d.ws[w.Name] = w.Handler
	}
	return d
}

// Rewire has the driver go on with the device that another one was made for.
func (d *Driver) Rewire(other *Driver) { d.ws = other.ws }

// Window gives access to registers.
func (d *Driver) Window(name string) devices.Handler { return d.ws[name] }

func (d *Driver) set(off uint64, size int, v uint64) { d.ws["common"].Write(off, size, v) }

// Init does the driver's side of initialization [VIRTIO 1.3 3.1.1]; with msix,
// vector 0 is the configuration's and n+1 queue n's. It returns the device status.
func (d *Driver) Init(features uint64, msix bool) uint8 {
	cfg := d.ws["cfg"]
	cfg.Write(4, 2, pci.CommandMemory|pci.CommandMaster)
	d.set(0x14, 1, 0)
	d.set(0x14, 1, 3)
	for i := range uint64(2) {
		d.set(0x08, 4, i)
		d.set(0x0c, 4, features>>(32*i)&0xffffffff)
	}
	d.set(0x14, 1, 0xb)
	n := int(d.ws["common"].Read(0x12, 2))
	if msix {
		d.vectors(n + 1)
	}
	d.queue = make([]queue, n)
	for i := range d.queue {
		d.start(i)
	}
	d.set(0x14, 1, 0xf)
	return uint8(d.ws["common"].Read(0x14, 1))
}

// vectors turns MSI-X on: vector n sends n to fee00000.
func (d *Driver) vectors(n int) {
	cfg := d.ws["cfg"]
	cfg.Write(0x9a, 2, 0x8000)
	for i := range uint64(n) {
		d.ws["msix"].Write(16*i, 8, 0xfee00000)
		d.ws["msix"].Write(16*i+8, 8, i)
	}
	d.set(0x10, 2, 0)
	for i := range uint64(n - 1) {
		d.set(0x16, 2, i)
		d.set(0x1a, 2, i+1)
	}
}

func (d *Driver) start(i int) {
	q := &d.queue[i]
	d.set(0x16, 2, uint64(i))
	if d.Size != 0 {
		d.set(0x18, 2, uint64(d.Size))
	}
	q.size = uint16(d.ws["common"].Read(0x18, 2))
	base := QueueBase * uint64(i+1)
	for j, part := range []uint64{0, availPart, usedPart} {
		d.set(0x20+8*uint64(j), 4, base+part)
		d.set(0x24+8*uint64(j), 4, 0)
	}
	d.set(0x1c, 2, 1)
}

// Alloc finds memory for n bytes.
func (d *Driver) Alloc(n int) uint64 {
	if d.next+uint64(n) > uint64(len(d.RAM.B)) {
		d.next = buffers
	}
	at := d.next
	d.next += uint64(n+15) &^ 15
	return at
}

// Buffer puts bytes into memory.
func (d *Driver) Buffer(b []byte) virtio.Segment {
	at := d.Alloc(len(b))
	copy(d.RAM.B[at:], b)
	return virtio.Segment{Addr: at, Len: uint32(len(b))}
}

// Room finds memory for an answer.
func (d *Driver) Room(n int) virtio.Segment { return virtio.Segment{Addr: d.Alloc(n), Len: uint32(n)} }

// Bytes shows a segment's memory.
func (d *Driver) Bytes(s virtio.Segment) []byte { return d.RAM.B[s.Addr : s.Addr+uint64(s.Len)] }

// Desc writes a descriptor of a table.
func (d *Driver) Desc(table uint64, i uint16, s virtio.Segment, flags, next uint16) {
	b := d.RAM.B[table+16*uint64(i):]
	binary.LittleEndian.PutUint64(b, s.Addr)
	binary.LittleEndian.PutUint32(b[8:], s.Len)
	binary.LittleEndian.PutUint16(b[12:], flags)
	binary.LittleEndian.PutUint16(b[14:], next)
}

// Table is where a queue's descriptors are.
func Table(q int) uint64 { return QueueBase * uint64(q+1) }

// Add makes a chain available and returns its head.
func (d *Driver) Add(q int, out, in []virtio.Segment) uint16 {
	s := &d.queue[q]
	head := s.desc
	for i, seg := range append(append([]virtio.Segment{}, out...), in...) {
		flags, next := uint16(0), (s.desc+1)%s.size
		if i >= len(out) {
			flags |= Write
		}
		if i+1 < len(out)+len(in) {
			flags |= Next
		}
		d.Desc(Table(q), s.desc, seg, flags, next)
		s.desc = next
	}
	d.Offer(q, head)
	return head
}

// Offer puts a head into the available ring.
func (d *Driver) Offer(q int, head uint16) {
	s := &d.queue[q]
	ring := d.RAM.B[Table(q)+availPart:]
	binary.LittleEndian.PutUint16(ring[4+2*int(s.avail%s.size):], head)
	s.avail++
	binary.LittleEndian.PutUint16(ring[2:], s.avail)
}

// Avail is the available ring, for what Offer would not do.
func (d *Driver) Avail(q int) []byte { return d.RAM.B[Table(q)+availPart:] }

// UsedRing is the used ring as it is.
func (d *Driver) UsedRing(q int) []byte { return d.RAM.B[Table(q)+usedPart:] }

// Kick notifies the device.
func (d *Driver) Kick(q int) { d.ws["notify"].Write(4*uint64(q), 2, uint64(q)) }

// Take returns what the device has used since the last Take.
func (d *Driver) Take(q int) []Used {
	s := &d.queue[q]
	ring := d.UsedRing(q)
	var out []Used
	for s.seen != binary.LittleEndian.Uint16(ring[2:]) {
		e := ring[4+8*int(s.seen%s.size):]
		out = append(out, Used{uint16(binary.LittleEndian.Uint32(e)), binary.LittleEndian.Uint32(e[4:])})
		s.seen++
	}
	return out
}
