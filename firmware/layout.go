package firmware

import "godwit/firmware/acpi"

// The PC's memory map, in bytes from physical address 0.
const (
	lowRAMLimit = 3 << 30  // RAM beyond this continues at highRAMBase
	highRAMBase = 4 << 30  //
	facsAddr    = 0x9f000  // the FACS, which the guest writes
	biosArea    = 0xa0000  // end of conventional memory
	romArea     = 0xe0000  // ACPI tables
	smbiosAddr  = 0xf0000  // SMBIOS entry point and structures
	romEnd      = 0x100000 //
	minRAM      = 2 << 20  // the first megabyte and something to run in
	pageSize    = 4096     //
)

// GenID is where a machine's identity lies, behind the FACS.
const GenID = facsAddr + 0x800

// VMClock is the page that relates the time stamp counter to UTC. Why in the ROM area:
// Linux saves the FACS's area when it hibernates, and would write the page of another
// boot back.
const VMClock = 0xfe000

// RSDP is where WriteTables puts the ACPI root pointer, in the area that
// systems without boot parameters search [ACPI 6.5 5.2.5.1].
const RSDP = romArea

// LowRAM returns the end of RAM below 4 GiB.
func LowRAM(ram uint64) uint64 { return min(ram, lowRAMLimit) }

// HighRAM returns the end of RAM above 4 GiB, or 4 GiB if there is none.
func HighRAM(ram uint64) uint64 { return highRAMBase + ram - LowRAM(ram) }

// E820Type is the kind of an address range [ACPI 6.5 15].
type E820Type uint32

// Address range types.
const (
	E820RAM      E820Type = 1
	E820Reserved E820Type = 2
	E820ACPI     E820Type = 3 // tables, reclaimable
	E820NVS      E820Type = 4 // kept over S3
)

// E820Entry is one range of the memory map.
type E820Entry struct {
	Addr, Size uint64
	Type       E820Type
}

// E820 returns the memory map of a machine with ram bytes, in rising order.
func E820(ram uint64) []E820Entry {
	map820 := []E820Entry{
		{0, facsAddr, E820RAM},
		{facsAddr, biosArea - facsAddr, E820NVS},
		{romArea, romEnd - romArea, E820Reserved},
		{romEnd, LowRAM(ram) - romEnd, E820RAM},
	}
	if ram > lowRAMLimit {
		map820 = append(map820, E820Entry{highRAMBase, ram - lowRAMLimit, E820RAM})
	}
	return map820
}

// Platform is the machine as its tables describe it.
type Platform = acpi.Config

// WriteTables writes the ACPI and SMBIOS tables and the few fields of the BIOS
// data area that kernels read.
func WriteTables(m Memory, p Platform) error {
	rom, facs, err := acpi.Build(p, romArea, facsAddr)
	if err != nil {
		return &Error{
			Code: CodePlatform, Field: "cpus", Have: uint64(len(p.APICIDs)), Want: acpi.MaxCPUs,
			What: "acpi tables cannot describe the machine", Why: err.Error(),
		}
	}
	if len(rom) > smbiosAddr-romArea {
		panic("godwit bug: acpi tables overrun their area")
	}
	for _, b := range []struct {
		pa   uint64
		data []byte
	}{
		{romArea, rom},
		{facsAddr, facs},
		{smbiosAddr, smbios()},
		{0x400, le16(nil, 0x3f8)},        // BDA: port of COM1
		{0x413, le16(nil, facsAddr>>10)}, // BDA: KiB of conventional memory
	} {
		if err := put(m, b.pa, b.data); err != nil {
			return err
		}
	}
	return nil
}
