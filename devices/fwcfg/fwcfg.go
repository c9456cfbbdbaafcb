// Package fwcfg models the firmware configuration device: named pieces of data that
// the machine has for its guest.
//
// Specification: [QEMU specs/fw_cfg]. Modelled: the selector and data ports, the
// file directory. Not modelled: the DMA interface (item 1 says so) and writing.
// What is not there reads as zeros, as does everything beyond an item's end.
package fwcfg

import (
	"encoding/binary"
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// Port is the selector; the data port follows it.
const Port = 0x510

// Keys of items that are not files.
const (
	KeySignature = 0x00
	KeyID        = 0x01
	KeyRAMSize   = 0x03 // bytes, 8 bytes wide
	KeyCPUs      = 0x05 // 2 bytes
	KeyMaxCPUs   = 0x0f // 2 bytes
	keyDirectory = 0x19
	keyFirstFile = 0x20

	keyWrite = 1 << 14 // of no effect any more
)

// idTraditional: the ports are there, DMA is not.
const idTraditional = 1

// Bounds of a catalogue.
const (
	MaxFiles = 256
	MaxName  = 55      // the directory has 56 bytes with the terminating zero
	MaxItem  = 1 << 24 // bytes
)

// Items is what there is to read; nil for absent items. It never changes.
type Items interface{ Item(key uint16) []byte }

// File is a named item, such as "etc/e820".
type File struct {
	Name string
	Data []byte
}

// Catalogue is a set of items.
type Catalogue struct{ items map[uint16][]byte }

// NewCatalogue makes the items that tell a guest its memory and CPUs, and the
// files, with keys in their order.
func NewCatalogue(ram uint64, cpus uint16, files []File) (*Catalogue, error) {
	if len(files) > MaxFiles {
		return nil, fmt.Errorf("fw_cfg: %d files, at most %d", len(files), MaxFiles)
	}
	le := binary.LittleEndian
	c := &Catalogue{items: map[uint16][]byte{
		KeySignature: []byte("QEMU"),
		KeyID:        le.AppendUint32(nil, idTraditional),
		KeyRAMSize:   le.AppendUint64(nil, ram),
		KeyCPUs:      le.AppendUint16(nil, cpus),
		KeyMaxCPUs:   le.AppendUint16(nil, cpus),
	}}
	dir := binary.BigEndian.AppendUint32(nil, uint32(len(files)))
	for i, f := range files {
		if len(f.Name) == 0 || len(f.Name) > MaxName || len(f.Data) > MaxItem {
			return nil, fmt.Errorf("fw_cfg: file %q: name is %d bytes, at most %d; data %d, at most %d",
				f.Name, len(f.Name), MaxName, len(f.Data), MaxItem)
		}
		key := keyFirstFile + uint16(i)
		c.items[key] = f.Data
		dir = binary.BigEndian.AppendUint32(dir, uint32(len(f.Data)))
		dir = binary.BigEndian.AppendUint16(dir, key)
		dir = append(dir, 0, 0)
		var name [MaxName + 1]byte
		copy(name[:], f.Name)
		dir = append(dir, name[:]...)
	}
	c.items[keyDirectory] = dir
	return c, nil
}

// Item gives the item with a key.
func (c *Catalogue) Item(key uint16) []byte { return c.items[key] }

// Wiring is what the device is connected to.
type Wiring struct {
	ID    string
	Items Items
}

type state struct {
	Key    uint16 `cbor:"1,keyasint"` // the item selected
	Offset uint32 `cbor:"2,keyasint"` // of its next byte
}

// Device is the firmware configuration device.
type Device struct {
	state
	w Wiring
}

// New returns a device with item 0 selected.
func New(w Wiring) *Device { return &Device{w: w} }

// ID returns the device's stable name.
func (d *Device) ID() string { return d.w.ID }

// State returns the guest-visible state.
func (d *Device) State() any { return &d.state }

// Reset selects item 0.
func (d *Device) Reset(kind devices.ResetKind) {
	if kind != devices.Init {
		d.state = state{}
	}
}

// Restored checks a decoded state.
func (d *Device) Restored() error {
	if d.Key&keyWrite != 0 || d.Offset > MaxItem {
		return fmt.Errorf("restore %s: key %#x, offset %d of at most %d", d.w.ID, d.Key, d.Offset, MaxItem)
	}
	return nil
}

// Event does nothing: the device has no timers.
func (d *Device) Event(devices.EventID) {}

// Windows lists the device's ports.
func (d *Device) Windows() []bus.Window {
	return []bus.Window{{Name: "pio", IO: true, Base: Port, Size: 2, Handler: d}}
}

// Read answers the data port with the item's next byte.
func (d *Device) Read(off uint64, size int) uint64 {
	if off != 1 || size != 1 {
		return ^uint64(0) >> (64 - 8*size)
	}
	b, more := d.next()
	if more {
		d.Offset++
	}
	return uint64(b)
}

// next is the byte that the data port gives: 0 beyond the item's end.
func (d *Device) next() (b byte, more bool) {
	item := d.w.Items.Item(d.Key)
	if d.Offset >= uint32(len(item)) {
		return 0, false
	}
	return item[d.Offset], true
}

// Peek tells the selector and the next byte without moving on.
func (d *Device) Peek(i int) uint64 {
	if i == 0 {
		return uint64(d.Key)
	}
	b, _ := d.next()
	return uint64(b)
}

// Write selects an item, by 16 bits only; writes to the data port have no effect.
func (d *Device) Write(off uint64, size int, v uint64) {
	if off == 0 && size == 2 {
		d.Key, d.Offset = uint16(v)&^keyWrite, 0
	}
}

// Regs describes the device's registers.
func (d *Device) Regs() []devices.Reg {
	return []devices.Reg{
		{Space: "pio", Off: 0, Size: 2, Name: "SELECTOR", Acc: devices.WO, Mask: 0xbfff, Bits: "15 ARCH | 13:0 KEY", Ref: "[QEMU specs/fw_cfg]"},
		{Space: "pio", Off: 1, Size: 1, Name: "DATA", Acc: devices.RC, Banked: true, Bits: "7:0 DATA", Ref: "[QEMU specs/fw_cfg]"},
	}
}
