package pci

import (
	"fmt"

	"godwit/devices"
	"godwit/devices/bus"
)

// MaxVectors is how many vectors a function can have here; the capability could
// name 2048.
const MaxVectors = 64

const (
	capMSIX        = 0x11
	msixSize       = 12 // of the capability, in bytes
	msixEntry      = 16
	msixMask       = 1 << 14 // message control
	msixEnable     = 1 << 15
	msixEntryMask  = 1 << 0 // vector control
	msixControlPos = 16
)

// Vector is one entry of the MSI-X table [PCI 3.0 6.8.2.6].
type Vector struct {
	Addr    uint64 `cbor:"1,keyasint"`
	Data    uint32 `cbor:"2,keyasint"`
	Control uint32 `cbor:"3,keyasint"`
}

// Vectors is the state of MSI-X beside its capability.
type Vectors struct {
	Table   []Vector `cbor:"1,keyasint"`
	Pending uint64   `cbor:"2,keyasint"` // bit n: vector n
}

// MSIX sends a function's interrupt messages [PCI 3.0 6.8.2].
type MSIX struct {
	Fn    *Function
	Cap   uint8 // the capability's offset
	N     int   // vectors, 1 to MaxVectors
	Out   bus.MSI
	State *Vectors
}

// MSIXRows describes the capability at off, whose table is at the start of BAR bar
// and whose pending bits are at offset pba of it.
func MSIXRows(off, next uint64, n int, bar uint8, pba uint32) []devices.Reg {
	row := func(o uint64, size int, name string, v uint64) devices.Reg {
		return devices.Reg{Space: "cfg", Off: off + o, Size: size, Name: name, Acc: devices.RO, Reset: v, Ref: "[PCI 3.0 6.8.2]"}
	}
	return []devices.Reg{
		row(0, 1, "MSIX_ID", capMSIX),
		row(1, 1, "MSIX_NEXT", next),
		{
			Space: "cfg", Off: off + 2, Size: 2, Name: "MSIX_CTRL", Mask: msixMask | msixEnable, Reset: uint64(n - 1),
			Bits: "15 ENABLE | 14 MASK | 10:0 LAST", Ref: "[PCI 3.0 6.8.2.3]",
		},
		row(4, 4, "MSIX_TABLE", uint64(bar)),
		row(8, 4, "MSIX_PBA", uint64(pba)|uint64(bar)),
	}
}

// TableRows describes the first vector and its pending bits as the window "msix".
func TableRows(pba uint32) []devices.Reg {
	const ref = "[PCI 3.0 6.8.2.6]"
	return []devices.Reg{
		{Space: "msix", Off: 0, Size: 4, Name: "MSIX_ADDR", Mask: 0xfffffffc, Bits: "31:2 ADDR", Ref: ref},
		{Space: "msix", Off: 4, Size: 4, Name: "MSIX_ADDR_HIGH", Mask: 0xffffffff, Bits: "31:0 ADDR", Ref: ref},
		{Space: "msix", Off: 8, Size: 4, Name: "MSIX_DATA", Mask: 0xffffffff, Bits: "31:0 DATA", Ref: ref},
		{Space: "msix", Off: 12, Size: 4, Name: "MSIX_VECTOR", Mask: 1, Reset: 1, Bits: "0 MASK", Ref: ref},
		{Space: "msix", Off: uint64(pba), Size: 8, Name: "MSIX_PENDING", Acc: devices.RO, Bits: "63:0 PENDING", Ref: "[PCI 3.0 6.8.2.9]"},
	}
}

// Reset masks all vectors.
func (x *MSIX) Reset() {
	*x.State = Vectors{Table: make([]Vector, x.N)}
	for i := range x.State.Table {
		x.State.Table[i].Control = msixEntryMask
	}
}

// Restored checks a decoded state.
func (x *MSIX) Restored() error {
	if len(x.State.Table) != x.N {
		return fmt.Errorf("restore %s: msi-x table has %d vectors, must have %d", x.Fn.ID, len(x.State.Table), x.N)
	}
	if x.State.Pending>>x.N != 0 { // a shift by 64 gives 0
		return fmt.Errorf("restore %s: pending vectors %#x of %d", x.Fn.ID, x.State.Pending, x.N)
	}
	for i, v := range x.State.Table {
		if v.Addr&3 != 0 || v.Control&^msixEntryMask != 0 {
			return fmt.Errorf("restore %s: vector %d has reserved bits set: address %#x, control %#x", x.Fn.ID, i, v.Addr, v.Control)
		}
	}
	return nil
}

func (x *MSIX) control() uint32 { return x.Fn.State.Words[x.Cap/4] >> msixControlPos }

// Enabled tells whether the guest chose MSI-X over the pin.
func (x *MSIX) Enabled() bool { return x.control()&msixEnable != 0 }

// Notify sends vector n's message, now or when it is unmasked.
// Preconditions: MSI-X is enabled, n < N.
func (x *MSIX) Notify(n int) {
	x.State.Pending |= 1 << n
	x.Update()
}

// Update sends what is pending and no longer masked; the owner calls it when the
// configuration changed.
func (x *MSIX) Update() {
	if x.control()&(msixEnable|msixMask) != msixEnable || !x.Fn.Master() {
		return
	}
	for n := range x.State.Table {
		v := &x.State.Table[n]
		if x.State.Pending&(1<<n) != 0 && v.Control&msixEntryMask == 0 {
			x.State.Pending &^= 1 << n
			x.Out.MSI(v.Addr, v.Data)
		}
	}
}

// Wakes tells whether a vector can send what wakes a vCPU that takes no interrupts.
func (x *MSIX) Wakes() bool {
	if x.control()&(msixEnable|msixMask) != msixEnable {
		return false
	}
	for _, v := range x.State.Table {
		if v.Control&msixEntryMask == 0 && bus.Wakes(v.Data) {
			return true
		}
	}
	return false
}

// table is table and pending bits as one window.
type table struct {
	x   *MSIX
	pba uint64
}

// Table answers accesses to the window that holds the table at 0 and the pending
// bits at pba. Accesses other than of aligned dwords and qwords are undefined
// [PCI 3.0 6.8.2]; here they read as zero and write nothing.
func (x *MSIX) Table(pba uint32) devices.Handler { return table{x, uint64(pba)} }

func (t table) Read(off uint64, size int) uint64 {
	switch {
	case off%uint64(size) != 0 || size < 4:
		return 0
	case size == 8:
		return t.Read(off, 4) | t.Read(off+4, 4)<<32
	case off-t.pba < 8:
		return t.x.State.Pending >> (8 * (off - t.pba)) & 0xffffffff
	case off >= uint64(msixEntry*t.x.N):
		return 0
	}
	v := &t.x.State.Table[off/msixEntry]
	switch off % msixEntry {
	case 0:
		return v.Addr & 0xffffffff
	case 4:
		return v.Addr >> 32
	case 8:
		return uint64(v.Data)
	}
	return uint64(v.Control)
}

func (t table) Write(off uint64, size int, val uint64) {
	switch {
	case off%uint64(size) != 0 || size < 4:
		return
	case size == 8:
		t.Write(off, 4, val&0xffffffff)
		t.Write(off+4, 4, val>>32)
		return
	case off >= uint64(msixEntry*t.x.N):
		return
	}
	v := &t.x.State.Table[off/msixEntry]
	switch off % msixEntry {
	case 0:
		v.Addr = v.Addr&^0xffffffff | val&0xfffffffc
	case 4:
		v.Addr = v.Addr&0xffffffff | val<<32
	case 8:
		v.Data = uint32(val)
	case 12:
		v.Control = uint32(val) & msixEntryMask
		t.x.Update()
	}
}
