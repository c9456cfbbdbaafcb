package acpi

import "encoding/binary"

// MADT structure types [ACPI 6.5 5.2.12].
const (
	madtLAPIC     = 0
	madtIOAPIC    = 1
	madtOverride  = 2
	madtLAPICNMI  = 4
	madtX2APIC    = 9
	madtX2APICNMI = 10
)

// MPS INTI flags [ACPI 6.5 5.2.12.5].
const (
	intiConforms = 0
	intiHigh     = 1
	intiLevel    = 3 << 2
)

// ioapicID is the id of the only IOAPIC, which has 24 inputs from GSI 0.
const ioapicID = 0

// madt lists the interrupt controllers. CPUs with ids that a local APIC
// structure cannot hold get an x2APIC one.
func madt(ids []uint32) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, lapicBase)
	b = le.AppendUint32(b, 1) // PCAT_COMPAT: two 8259s too
	x2 := false
	for uid, id := range ids {
		if id < 255 && uid < 256 {
			b = append(b, madtLAPIC, 8, byte(uid), byte(id))
			b = le.AppendUint32(b, 1) // enabled
			continue
		}
		x2 = true
		b = append(b, madtX2APIC, 16, 0, 0)
		b = le.AppendUint32(b, id)
		b = le.AppendUint32(b, 1) // enabled
		b = le.AppendUint32(b, uint32(uid))
	}
	b = append(b, madtIOAPIC, 12, ioapicID, 0)
	b = le.AppendUint32(b, ioapicBase)
	b = le.AppendUint32(b, 0) // first GSI
	for _, o := range []struct {
		irq   byte
		gsi   uint32
		flags uint16
	}{
		{0, 2, intiConforms}, // the PIT is wired to input 2
		{sciIRQ, sciIRQ, intiHigh | intiLevel},
		{10, 10, intiHigh | intiLevel}, // PCI for guests without IOAPIC
		{11, 11, intiHigh | intiLevel},
	} {
		b = append(b, madtOverride, 10, 0, o.irq)
		b = le.AppendUint32(b, o.gsi)
		b = le.AppendUint16(b, o.flags)
	}
	b = append(b, madtLAPICNMI, 6, 0xff, 0, 0, 1) // all CPUs: NMI at LINT1
	if x2 {
		b = append(b, madtX2APICNMI, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0)
	}
	return table("APIC", 5, b)
}
