package virtio

import "godwit/devices"

const commonSize = 0x38

// commonReg is a register of the common configuration and what it does
// [VIRTIO 1.3 4.1.4.3]. Without set, writes are dropped. q is the selected queue;
// registers of a queue that does not exist read as zero and drop writes.
type commonReg struct {
	devices.Reg
	get func(t *transport, q *Queue) uint64
	set func(t *transport, q *Queue, v uint64)
}

const refCommon = "[VIRTIO 1.3 4.1.4.3]"

var commonRegs = [...]commonReg{
	{
		devices.Reg{Off: 0x00, Size: 4, Name: "DEVICE_FEATURE_SELECT", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return uint64(t.s.DeviceSelect) },
		func(t *transport, _ *Queue, v uint64) { t.s.DeviceSelect = uint32(v) },
	},
	{
		devices.Reg{Off: 0x04, Size: 4, Name: "DEVICE_FEATURE", Acc: devices.RO, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return half(t.offered(), t.s.DeviceSelect) }, nil,
	},
	{
		devices.Reg{Off: 0x08, Size: 4, Name: "DRIVER_FEATURE_SELECT", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return uint64(t.s.DriverSelect) },
		func(t *transport, _ *Queue, v uint64) { t.s.DriverSelect = uint32(v) },
	},
	{
		devices.Reg{Off: 0x0c, Size: 4, Name: "DRIVER_FEATURE", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return half(t.s.Features, t.s.DriverSelect) },
		func(t *transport, _ *Queue, v uint64) { t.setFeatures(uint32(v)) },
	},
	{
		devices.Reg{Off: 0x10, Size: 2, Name: "CONFIG_MSIX_VECTOR", Mask: 0xffff, Reset: noVector, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return uint64(t.s.ConfigVector) },
		func(t *transport, _ *Queue, v uint64) { t.s.ConfigVector = t.vector(v) },
	},
	{
		devices.Reg{Off: 0x12, Size: 2, Name: "NUM_QUEUES", Acc: devices.RO, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return uint64(len(t.s.Queues)) }, nil,
	},
	{
		devices.Reg{
			Off: 0x14, Size: 1, Name: "DEVICE_STATUS", Mask: 0xff, Banked: true,
			Bits: "7 FAILED | 6 NEEDS_RESET | 3 FEATURES_OK | 2 DRIVER_OK | 1 DRIVER | 0 ACKNOWLEDGE", Ref: "[VIRTIO 1.3 2.1]",
		},
		func(t *transport, _ *Queue) uint64 { return uint64(t.s.Status) },
		func(t *transport, _ *Queue, v uint64) { t.setStatus(uint8(v)) },
	},
	{
		devices.Reg{Off: 0x15, Size: 1, Name: "CONFIG_GENERATION", Acc: devices.RO, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return uint64(t.s.Generation) }, nil,
	},
	{
		devices.Reg{Off: 0x16, Size: 2, Name: "QUEUE_SELECT", Mask: 0xffff, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return uint64(t.s.QueueSelect) },
		func(t *transport, _ *Queue, v uint64) { t.s.QueueSelect = uint16(v) },
	},
	{
		devices.Reg{Off: 0x18, Size: 2, Name: "QUEUE_SIZE", Mask: 0xffff, Banked: true, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return uint64(q.Size) },
		func(t *transport, q *Queue, v uint64) { t.setSize(q, v) },
	},
	{
		devices.Reg{Off: 0x1a, Size: 2, Name: "QUEUE_MSIX_VECTOR", Mask: 0xffff, Reset: noVector, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return uint64(q.Vector) },
		func(t *transport, q *Queue, v uint64) { q.Vector = t.vector(v) },
	},
	{
		devices.Reg{Off: 0x1c, Size: 2, Name: "QUEUE_ENABLE", Mask: 1, Banked: true, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return flag(q.Enabled) },
		func(t *transport, q *Queue, v uint64) { t.enable(q, v) },
	},
	{
		devices.Reg{Off: 0x1e, Size: 2, Name: "QUEUE_NOTIFY_OFF", Acc: devices.RO, Ref: refCommon},
		func(t *transport, _ *Queue) uint64 { return uint64(t.s.QueueSelect) }, nil,
	},
	{
		devices.Reg{Off: 0x20, Size: 4, Name: "QUEUE_DESC", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return half(q.Desc, 0) },
		func(t *transport, q *Queue, v uint64) { t.place(q, &q.Desc, 0, v) },
	},
	{
		devices.Reg{Off: 0x24, Size: 4, Name: "QUEUE_DESC_HIGH", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return half(q.Desc, 1) },
		func(t *transport, q *Queue, v uint64) { t.place(q, &q.Desc, 1, v) },
	},
	{
		devices.Reg{Off: 0x28, Size: 4, Name: "QUEUE_DRIVER", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return half(q.Driver, 0) },
		func(t *transport, q *Queue, v uint64) { t.place(q, &q.Driver, 0, v) },
	},
	{
		devices.Reg{Off: 0x2c, Size: 4, Name: "QUEUE_DRIVER_HIGH", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return half(q.Driver, 1) },
		func(t *transport, q *Queue, v uint64) { t.place(q, &q.Driver, 1, v) },
	},
	{
		devices.Reg{Off: 0x30, Size: 4, Name: "QUEUE_DEVICE", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return half(q.Device, 0) },
		func(t *transport, q *Queue, v uint64) { t.place(q, &q.Device, 0, v) },
	},
	{
		devices.Reg{Off: 0x34, Size: 4, Name: "QUEUE_DEVICE_HIGH", Mask: 0xffffffff, Ref: refCommon},
		func(t *transport, q *Queue) uint64 { return half(q.Device, 1) },
		func(t *transport, q *Queue, v uint64) { t.place(q, &q.Device, 1, v) },
	},
}

// half is the nth 32 bits of a value, 0 beyond the second.
func half(v uint64, n uint32) uint64 {
	if n > 1 {
		return 0
	}
	return v >> (32 * n) & 0xffffffff
}

// setHalf replaces the nth 32 bits.
func setHalf(old uint64, n uint32, v uint64) uint64 {
	return old&^(0xffffffff<<(32*n)) | v&0xffffffff<<(32*n)
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// setFeatures is the driver's choice, which counts until it is accepted.
func (t *transport) setFeatures(v uint32) {
	switch {
	case t.s.Status&statusFeaturesOK != 0:
		t.GuestError("features written after FEATURES_OK")
	case t.s.DriverSelect <= 1:
		t.s.Features = setHalf(t.s.Features, t.s.DriverSelect, uint64(v))
	case v != 0:
		t.GuestError("features beyond the second word")
	}
}

// vector is a driver's choice of a vector; one that does not exist reads back as
// none, which tells the driver so [VIRTIO 1.3 4.1.5.1.2].
func (t *transport) vector(v uint64) uint16 {
	if !t.goodVector(uint16(v)) {
		return noVector
	}
	return uint16(v)
}

// setSize makes a queue smaller.
func (t *transport) setSize(q *Queue, v uint64) {
	if q.Enabled || !goodSize(uint16(v), t.spec.Queues[t.s.QueueSelect]) {
		t.GuestError("bad queue size")
		return
	}
	q.Size = uint16(v)
}

// enable starts a queue; only a reset stops it.
func (t *transport) enable(q *Queue, v uint64) {
	if v != 1 {
		t.GuestError("queue disabled")
		return
	}
	q.Enabled = true
}

// place sets half of the address of a part of a queue.
func (t *transport) place(q *Queue, addr *uint64, n uint32, v uint64) {
	if q.Enabled {
		t.GuestError("enabled queue moved")
		return
	}
	*addr = setHalf(*addr, n, v)
}

// selected is the queue that the driver selected, nil if there is none.
func (t *transport) selected() *Queue {
	if n := int(t.s.QueueSelect); n < len(t.s.Queues) {
		return &t.s.Queues[n]
	}
	return nil
}

// common is the common configuration. The driver must use the registers' own
// widths [VIRTIO 1.3 4.1.3.1]; reads of a part of a register are answered, writes
// are dropped. Eight bytes are two accesses.
type common struct{ t *transport }

// find is the register that has the byte at off.
func find(off uint64) *commonReg {
	for i := range commonRegs {
		if r := &commonRegs[i]; off-r.Off < uint64(r.Size) {
			return r
		}
	}
	return nil
}

const offQueue = 0x18 // registers from here to the end belong to the selected queue

func (h common) Read(off uint64, size int) uint64 {
	if size == 8 {
		return h.Read(off, 4) | h.Read(off+4, 4)<<32
	}
	r, q := find(off), h.t.selected()
	if r == nil || r.Off >= offQueue && q == nil {
		return 0
	}
	v := r.get(h.t, q) >> (8 * (off - r.Off))
	if n := r.Size - int(off-r.Off); n < size {
		return v | h.Read(off+uint64(n), size-n)<<(8*n)
	}
	return v & (1<<(8*size) - 1)
}

func (h common) Write(off uint64, size int, v uint64) {
	if size == 8 {
		h.Write(off, 4, v&0xffffffff)
		h.Write(off+4, 4, v>>32)
		return
	}
	r, q := find(off), h.t.selected()
	if r == nil || r.Off != off || r.Size != size || r.set == nil || r.Off >= offQueue && q == nil {
		h.t.GuestError("bad write to the common configuration")
		return
	}
	r.set(h.t, q, v&(1<<(8*size)-1))
}
