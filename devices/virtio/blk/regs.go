package blk

import (
	"encoding/binary"

	"godwit/devices"
	"godwit/devices/bus"
)

// Device configuration [VIRTIO 1.3 5.2.4].
const (
	offWriteback = 32
	configSize   = 60
)

const (
	sectorsPerBlock = 8 // of the physical blocks that guests had better write whole
	blockExp        = 3
)

const refConfig = "[VIRTIO 1.3 5.2.4]"

// regs describes the device configuration. All that can be read has its value
// here, but for what the driver writes.
func (d *Device) regs() []devices.Reg {
	ro := func(off uint64, size int, name string, v uint64) devices.Reg {
		return devices.Reg{Space: "device", Off: off, Size: size, Name: name, Acc: devices.RO, Reset: v, Ref: refConfig}
	}
	limit, segs, unmap := uint64(maxRange), uint64(1), uint64(1)
	if d.w.Disk.ReadOnly() {
		limit, segs, unmap = 0, 0, 0
	}
	return []devices.Reg{
		ro(0, 8, "CAPACITY", uint64(d.w.Disk.Size())/sector),
		ro(8, 4, "SIZE_MAX", 0), // not offered: segments have any size
		ro(12, 4, "SEG_MAX", segMax),
		ro(16, 4, "GEOMETRY", 0), // not offered
		ro(20, 4, "BLK_SIZE", sector),
		ro(24, 1, "PHYSICAL_BLOCK_EXP", blockExp),
		ro(25, 1, "ALIGNMENT_OFFSET", 0),
		ro(26, 2, "MIN_IO_SIZE", sectorsPerBlock),
		ro(28, 4, "OPT_IO_SIZE", 0),
		{Space: "device", Off: offWriteback, Size: 1, Name: "WRITEBACK", Mask: 1, Reset: 1, Ref: refConfig},
		ro(34, 2, "NUM_QUEUES", uint64(d.w.Queues)),
		ro(36, 4, "MAX_DISCARD_SECTORS", limit),
		ro(40, 4, "MAX_DISCARD_SEG", segs),
		ro(44, 4, "DISCARD_SECTOR_ALIGNMENT", sectorsPerBlock*segs),
		ro(48, 4, "MAX_WRITE_ZEROES_SECTORS", limit),
		ro(52, 4, "MAX_WRITE_ZEROES_SEG", segs),
		ro(56, 1, "WRITE_ZEROES_MAY_UNMAP", unmap),
	}
}

// ReadConfig answers the device configuration.
func (d *Device) ReadConfig(off uint64, size int) uint64 {
	var b [configSize + 8]byte
	for _, r := range d.regs() {
		var v [8]byte
		binary.LittleEndian.PutUint64(v[:], r.Reset)
		copy(b[r.Off:r.Off+uint64(r.Size)], v[:])
	}
	b[offWriteback] = 0
	if d.Writeback {
		b[offWriteback] = 1
	}
	return bus.ReadBytes(func(o uint64) uint8 {
		if o < configSize {
			return b[o]
		}
		return 0
	}, off, size)
}

// WriteConfig takes the driver's choice between write-back and write-through.
func (d *Device) WriteConfig(off uint64, size int, v uint64) {
	bus.WriteBytes(func(o uint64, b uint8) {
		if o == offWriteback {
			d.Writeback = b&1 != 0
		}
	}, off, size, v)
}
