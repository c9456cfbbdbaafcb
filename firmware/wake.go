package firmware

import "encoding/binary"

// Fields of the FACS, by their offset [ACPI 6.5 5.2.10].
const (
	facsVector  = 12 // real mode
	facsXVector = 24 // flat protected mode
	facsEnd     = 32
)

// Wake tells where an operating system goes on after S3: where the FACS says, which
// outlived it in memory. False: nowhere, so it boots anew.
func Wake(m Memory) (e Entry, ok bool) {
	var b [facsEnd]byte
	m.Read(facsAddr, b[:])
	if x := binary.LittleEndian.Uint64(b[facsXVector:]); x != 0 && x < highRAMBase {
		return wakeFlat(x), true
	}
	v := uint64(binary.LittleEndian.Uint32(b[facsVector:]))
	if v == 0 || v >= romEnd {
		return e, false
	}
	data := Segment{Limit: 0xffff, Attr: attrData & 0xff}
	return Entry{
		Mode: Real, RIP: v & 0xf, CR0: crReal, IDT: Table{Limit: 0x3ff},
		CS: Segment{Selector: uint16(v >> 4), Base: v &^ 0xf, Limit: 0xffff, Attr: attrCode32 & 0xff},
		DS: data, ES: data, FS: data, GS: data, SS: data,
		TR: Segment{Limit: 0xffff, Attr: attrTSS}, LDT: Segment{Limit: 0xffff, Attr: attrLDT},
	}, true
}

// crReal is CR0 in real mode with caches on: ET alone.
const crReal = 1 << 4

// wakeFlat is flat protected mode, paging and interrupts off [ACPI 6.5 16.3.2.2].
func wakeFlat(v uint64) Entry {
	data := Segment{Selector: bootDS, Limit: 0xffffffff, Attr: attrData}
	return Entry{
		Mode: Protected32, RIP: v, CR0: crReal | 1,
		CS: Segment{Selector: bootCS, Limit: 0xffffffff, Attr: attrCode32},
		DS: data, ES: data, FS: data, GS: data, SS: data,
		TR: Segment{Selector: bootTSS, Limit: 0x67, Attr: attrTSS}, LDT: Segment{Attr: attrLDT},
	}
}
