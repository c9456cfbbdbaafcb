// Package acpi builds the ACPI tables of a directly booted PC.
//
// Specification: [ACPI 6.5]. Tables: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT,
// and HPET if there is one. The DSDT is AML made by the builder in aml.go.
// Not there: CPU and memory hotplug, MCFG (PCI configuration is by
// ports cf8 and cfc), SRAT.
//
// The registers named here are the machine's; package machine places its
// devices by the constants below.
package acpi

import (
	"encoding/binary"
	"fmt"
)

// Fixed hardware, port numbers and interrupts.
const (
	PM1Event   = 0x600 // PM1a event block: status, enable; 4 bytes
	PM1Control = 0x604 // PM1a control; 2 bytes
	PMTimer    = 0x608 // 3.579545 MHz, 24 bits
	GPE0       = 0x620 // general-purpose events: status, enable; 4 bytes
	ResetPort  = 0xcf9 // ResetValue resets the machine
	ResetValue = 6

	// SMICommand is the port at which a guest takes the PM registers over:
	// ACPIEnable sets SCI_EN, ACPIDisable clears it.
	SMICommand  = 0xb2
	ACPIEnable  = 0xf1
	ACPIDisable = 0xf0

	// GenIDEvent is the general-purpose event of a machine that became another.
	GenIDEvent = 5

	// VMClockEvent is that of a clock that did not go on as it did.
	VMClockEvent = 6

	// SLP_TYP of soft off, of sleep with memory kept, and of off with the state kept
	// by the guest.
	SleepTypeS5 = 0
	SleepTypeS3 = 1
	SleepTypeS4 = 2

	sciIRQ     = 9
	lapicBase  = 0xfee00000
	ioapicBase = 0xfec00000
	hpetBase   = 0xfed00000
)

// MaxCPUs is how many CPUs the tables' area holds.
const MaxCPUs = 1024

// Config is the machine that the tables describe.
type Config struct {
	APICIDs []uint32 // local APIC ids in CPU order; the boot CPU first
	HPET    bool
	VGA     bool // a VGA card answers at a0000-bffff
	I8042   bool // keyboard and mouse controller
	COM2    bool
	PVPanic bool // panic port 505
	// GenID is where the machine's identity lies, in memory that the guest leaves
	// alone; 0: it has none.
	GenID uint32
	// VMClock is the page that relates the time stamp counter to UTC, likewise.
	VMClock uint32
	// PCI64Base and PCI64Size are the window for 64-bit BARs; size 0: none.
	PCI64Base, PCI64Size uint64
}

// Build returns the tables: rom for guest-physical address romAddr, the RSDP at
// its start, and the FACS for facsAddr, which must be RAM that the guest leaves
// alone.
func Build(c Config, romAddr, facsAddr uint32) (rom, facs []byte, err error) {
	if n := len(c.APICIDs); n < 1 || n > MaxCPUs {
		return nil, nil, fmt.Errorf("cpus: have %d, at least 1 and at most %d", n, MaxCPUs)
	}
	const rsdpArea = 64 // the RSDP's 36 bytes, rounded up
	rom = make([]byte, rsdpArea)
	place := func(t []byte) uint32 {
		addr := romAddr + uint32(len(rom))
		rom = append(rom, t...)
		for len(rom)%64 != 0 {
			rom = append(rom, 0)
		}
		return addr
	}
	list := []uint32{place(fadt(c, place(dsdt(c)), facsAddr)), place(madt(c.APICIDs))}
	if c.HPET {
		list = append(list, place(hpet()))
	}
	var r, x []byte
	for _, addr := range list {
		r = binary.LittleEndian.AppendUint32(r, addr)
		x = binary.LittleEndian.AppendUint64(x, uint64(addr))
	}
	copy(rom, rsdp(place(table("RSDT", 1, r)), place(table("XSDT", 1, x))))
	return rom, facsTable(), nil
}

// Identification in every table's header.
const (
	oemID      = "GODWIT" // 6 bytes
	oemTable   = "GODWITPC"
	oemVersion = 1
	creatorID  = "GDWT"
)

// table puts the header before a body [ACPI 6.5 5.2.6].
func table(signature string, revision byte, body []byte) []byte {
	b := make([]byte, 0, 36+len(body))
	b = append(b, signature...)
	b = binary.LittleEndian.AppendUint32(b, uint32(36+len(body)))
	b = append(b, revision, 0)
	b = append(b, oemID...)
	b = append(b, oemTable...)
	b = binary.LittleEndian.AppendUint32(b, oemVersion)
	b = append(b, creatorID...)
	b = binary.LittleEndian.AppendUint32(b, oemVersion)
	b = append(b, body...)
	b[9] = checksum(b)
	return b
}

// checksum is the byte that makes the sum of b zero; its own place holds 0.
func checksum(b []byte) byte {
	var sum byte
	for _, v := range b {
		sum += v
	}
	return -sum
}

// rsdp is the root pointer, revision 2 [ACPI 6.5 5.2.5.3].
func rsdp(rsdt, xsdt uint32) []byte {
	b := append([]byte("RSD PTR "), 0)
	b = append(b, oemID...)
	b = append(b, 2)
	b = binary.LittleEndian.AppendUint32(b, rsdt)
	b = binary.LittleEndian.AppendUint32(b, 36)
	b = binary.LittleEndian.AppendUint64(b, uint64(xsdt))
	b = append(b, 0, 0, 0, 0)
	b[8] = checksum(b[:20])
	b[32] = checksum(b)
	return b
}

// facsTable is the firmware control structure: not in the XSDT, no header, no
// checksum [ACPI 6.5 5.2.10].
func facsTable() []byte {
	b := make([]byte, 64)
	copy(b, "FACS")
	b[4] = 64
	b[32] = 2 // version
	return b
}

// hpet describes the high precision event timer [HPET 1.0a 3.2.4].
func hpet() []byte {
	const (
		blockID = 0x8086a201 // as QEMU's: Intel, legacy routing, 64 bits, 3 timers
		minTick = 0x80
	)
	b := binary.LittleEndian.AppendUint32(nil, blockID)
	b = append(b, gas(0, 64, 0, hpetBase)...)
	b = append(b, 0) // HPET number
	b = binary.LittleEndian.AppendUint16(b, minTick)
	return table("HPET", 1, append(b, 0))
}

// gas is a generic address: space 0 memory, 1 ports; width in bits; size 1
// byte, 2 word, 3 dword [ACPI 6.5 5.2.3.2].
func gas(space, width, size byte, addr uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{space, width, 0, size}, addr)
}
