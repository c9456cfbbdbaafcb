package virtio

import "encoding/binary"

// Descriptor flags [VIRTIO 1.3 2.7.5].
const (
	descNext     = 1 << 0
	descWrite    = 1 << 1
	descIndirect = 1 << 2
	descSize     = 16
)

// availNoInterrupt is the available ring's flag [VIRTIO 1.3 2.7.6].
const availNoInterrupt = 1 << 0

const pageSize = 4096

// Segment is contiguous guest memory of a chain.
type Segment struct {
	Addr uint64 `cbor:"1,keyasint"`
	Len  uint32 `cbor:"2,keyasint"`
}

// Chain is a request: buffers that the device reads, then buffers that it writes.
// It is data, so that a device can keep it until the request is due.
type Chain struct {
	Head uint16    `cbor:"1,keyasint"`
	Out  []Segment `cbor:"2,keyasint"` // from driver to device
	In   []Segment `cbor:"3,keyasint"` // from device to driver
}

// Bytes is the length of segments together.
func Bytes(segs []Segment) uint64 {
	var n uint64
	for _, s := range segs {
		n += uint64(s.Len)
	}
	return n
}

// read notes in away that the page at pa is absent; b is then of no use.
func (t *transport) read(pa uint64, b []byte) {
	if !t.w.Mem.Read(pa, b) {
		t.away = true
	}
}

// here makes sure that memory can be read; if not, the queue is served again later.
func (t *transport) here(n int, pa, size uint64) bool {
	var b [1]byte
	for left := size; left > 0; {
		if !t.w.Mem.Read(pa, b[:]) {
			t.wait(n)
			return false
		}
		step := min(left, pageSize-pa%pageSize)
		pa, left = pa+step, left-step
	}
	return true
}

// wait has the queue served again when the machine asks.
func (t *transport) wait(n int) {
	t.s.Queues[n].Kicked = true
	t.w.Stall()
}

func (t *transport) read16(pa uint64) uint16 {
	var b [2]byte
	t.read(pa, b[:])
	return binary.LittleEndian.Uint16(b[:])
}

// write16 and the other writes to rings follow a touch, so they cannot stall.
func (t *transport) write16(pa uint64, v uint16) {
	var b [2]byte
	binary.LittleEndian.PutUint16(b[:], v)
	t.w.Mem.Write(pa, b[:])
}

// Parts of the rings [VIRTIO 1.3 2.7.6, 2.7.8].
func (q *Queue) availIdx() uint64           { return q.Driver + 2 }
func (q *Queue) availEntry(i uint16) uint64 { return q.Driver + 4 + 2*uint64(i%q.Size) }
func (q *Queue) usedEvent() uint64          { return q.Driver + 4 + 2*uint64(q.Size) }
func (q *Queue) usedIdx() uint64            { return q.Device + 2 }
func (q *Queue) usedEntry(i uint16) uint64  { return q.Device + 4 + 8*uint64(i%q.Size) }
func (q *Queue) availEvent() uint64         { return q.Device + 4 + 8*uint64(q.Size) }

// available is how many chains the driver says it has added.
func (t *transport) available(q *Queue) uint16 {
	if !q.Enabled || !t.Live() {
		return 0
	}
	return t.read16(q.availIdx()) - q.Avail
}

func (t *transport) Available(n int) int {
	q := &t.s.Queues[n]
	t.away = false
	count := t.available(q)
	if t.away {
		t.wait(n)
		return 0
	}
	if count > q.Size {
		t.Broken("more chains available than the queue holds")
		return 0
	}
	return int(count)
}

func (t *transport) Capacity(n int) uint64 {
	q, sum := &t.s.Queues[n], uint64(0)
	count := t.available(q)
	if count > q.Size {
		return 0
	}
	for i := range count {
		if t.walk(q, t.read16(q.availEntry(q.Avail+i))) != "" {
			break
		}
		sum += Bytes(t.chain.In)
	}
	return sum
}

func (t *transport) Next(n int) *Chain {
	c := t.Look(n)
	if c == nil {
		return nil
	}
	for _, s := range c.In {
		if !t.Touch(n, s.Addr, uint64(s.Len)) {
			return nil
		}
	}
	return c
}

func (t *transport) Look(n int) *Chain {
	q := &t.s.Queues[n]
	if !q.Enabled || !t.Live() {
		return nil
	}
	t.away = false
	why := t.walk(q, t.read16(q.availEntry(q.Avail)))
	if t.away {
		t.wait(n)
		return nil
	}
	if why != "" {
		t.Broken(why)
		return nil
	}
	if !t.touchRings(n) {
		return nil
	}
	for _, s := range t.chain.Out {
		if !t.here(n, s.Addr, uint64(s.Len)) {
			return nil
		}
	}
	return &t.chain
}

// walk collects the chain that starts at a descriptor, or says what is wrong
// with it.
func (t *transport) walk(q *Queue, head uint16) (wrong string) {
	c := &t.chain
	c.Head, c.Out, c.In = head, c.Out[:0], c.In[:0]
	if head >= q.Size {
		return "head beyond the descriptor table"
	}
	table, size, i, indirect := q.Desc, uint32(q.Size), uint32(head), false
	bytes := uint64(0)
	for left := size; left > 0; left-- {
		var d [descSize]byte
		if t.read(table+descSize*uint64(i), d[:]); t.away {
			return "absent"
		}
		s := Segment{binary.LittleEndian.Uint64(d[:]), binary.LittleEndian.Uint32(d[8:])}
		flags, next := binary.LittleEndian.Uint16(d[12:]), binary.LittleEndian.Uint16(d[14:])
		if flags&descIndirect != 0 {
			if why := t.indirect(s, flags, indirect); why != "" {
				return why
			}
			table, size, i, indirect = s.Addr, s.Len/descSize, 0, true
			left = size + 1
			continue
		}
		if bytes += uint64(s.Len); bytes > MaxChain {
			return "chain of too many bytes"
		}
		if !c.add(s, flags&descWrite != 0) {
			return "buffer to read after one to write"
		}
		if flags&descNext == 0 {
			return ""
		}
		if i = uint32(next); i >= size {
			return "descriptor beyond its table"
		}
	}
	return "chain longer than its table: a loop"
}

// indirect says what is wrong with a descriptor that refers to a table
// [VIRTIO 1.3 2.7.5.3].
func (t *transport) indirect(s Segment, flags uint16, nested bool) string {
	switch {
	case !t.Has(FeatureIndirect):
		return "indirect descriptor without the feature"
	case nested:
		return "indirect descriptor in an indirect table"
	case flags&descNext != 0:
		return "indirect descriptor with a next one"
	case s.Len == 0 || s.Len%descSize != 0 || s.Len/descSize > MaxSegments:
		return "indirect table of a bad size"
	}
	return ""
}

// add appends a segment, unless the order of the chain forbids it.
func (c *Chain) add(s Segment, write bool) bool {
	switch {
	case write:
		if s.Len != 0 {
			c.In = append(c.In, s)
		}
	case len(c.In) != 0:
		return false
	case s.Len != 0:
		c.Out = append(c.Out, s)
	}
	return true
}

// Touch writes a byte of each page back. Why: a write may be refused once per page
// and epoch; after this it is not, until the vCPUs have run.
func (t *transport) Touch(n int, pa, size uint64) bool {
	var b [1]byte
	for left := size; left > 0; {
		t.w.Mem.Read(pa, b[:])
		if !t.w.Mem.Write(pa, b[:]) {
			t.wait(n)
			return false
		}
		step := min(left, pageSize-pa%pageSize)
		pa, left = pa+step, left-step
	}
	return true
}

// touchRings makes sure that Take and Done can write, and Signal read.
func (t *transport) touchRings(n int) bool {
	q := &t.s.Queues[n]
	return t.here(n, q.Driver, 6+2*uint64(q.Size)) && t.Touch(n, q.usedIdx(), 2) && t.Touch(n, q.usedEntry(q.Used), 8) &&
		(!t.Has(FeatureEventIdx) || t.Touch(n, q.availEvent(), 2))
}

func (t *transport) Take(n int) {
	q := &t.s.Queues[n]
	q.Avail++
	if t.Has(FeatureEventIdx) {
		t.write16(q.availEvent(), q.Avail) // notify me of the next one
	}
}

func (t *transport) Done(n int, head uint16, written uint32) bool {
	if !t.touchRings(n) {
		return false
	}
	q := &t.s.Queues[n]
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], uint32(head))
	binary.LittleEndian.PutUint32(b[4:], written)
	t.w.Mem.Write(q.usedEntry(q.Used), b[:])
	q.Used++
	t.write16(q.usedIdx(), q.Used)
	return true
}

func (t *transport) Used(n int) uint16 { return t.s.Queues[n].Used }

// Signal follows [VIRTIO 1.3 2.7.7.2]. With event indexes the driver names the
// entry it waits for.
func (t *transport) Signal(n int, old uint16) {
	q := &t.s.Queues[n]
	if q.Used == old {
		return
	}
	if t.Has(FeatureEventIdx) {
		if q.Used-t.read16(q.usedEvent())-1 >= q.Used-old {
			return
		}
	} else if t.read16(q.Driver)&availNoInterrupt != 0 {
		return
	}
	t.interrupt(q.Vector, isrQueue)
}

func (t *transport) Gather(c *Chain, off uint64, b []byte) int {
	return each(c.Out, off, b, func(pa uint64, part []byte) { t.w.Mem.Read(pa, part) })
}

func (t *transport) Scatter(c *Chain, off uint64, b []byte) int {
	return each(c.In, off, b, func(pa uint64, part []byte) { t.w.Mem.Write(pa, part) })
}

// each calls copy for the parts of b that lie in one segment each, the first of
// them off bytes into segs, and returns how much of b there is room for.
func each(segs []Segment, off uint64, b []byte, copy func(pa uint64, part []byte)) int {
	done := 0
	for _, s := range segs {
		if off >= uint64(s.Len) {
			off -= uint64(s.Len)
			continue
		}
		n := int(min(uint64(s.Len)-off, uint64(len(b)-done)))
		if n == 0 {
			break
		}
		copy(s.Addr+off, b[done:done+n])
		done, off = done+n, 0
	}
	return done
}
