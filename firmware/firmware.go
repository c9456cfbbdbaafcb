// Package firmware is what a guest meets at boot when a kernel is loaded
// directly: the kernel and its initrd in memory, the tables that describe the
// machine, and the state of vCPU 0 at the first instruction.
//
// Specifications: [LINUX x86/boot] 2.12 and later by its 64-bit entry, or its
// 32-bit one where it has no other, [PVH] with start info version 1,
// [MULTIBOOT] 1, [ACPI 6.5] (package acpi), [SMBIOS 3.6]. There are no BIOS
// services: real mode code that calls INT 10h finds an empty vector table, or
// under MULTIBOOT vectors that return.
//
// Images and initrds come from users and are hostile: every length is checked
// against the image and the guest's memory before anything is written.
// Everything here is a function of its arguments: equal configurations give
// equal memory.
package firmware

// Memory is guest-physical memory. Write reports false when any of the bytes is
// not RAM (nothing is promised about the others then). Writes reach the ROM
// area e0000-fffff, which the guest may find read-only.
type Memory interface {
	Write(pa uint64, b []byte) bool
	Read(pa uint64, b []byte)
}

// Mode is the processor mode of an entry.
type Mode uint8

// The modes in which guests are entered.
const (
	Real        Mode = iota // real mode
	Protected32             // flat 32-bit protected mode, paging off
	Long64                  // 64-bit mode, identity-mapped
)

// String names the mode.
func (m Mode) String() string {
	return [...]string{"real", "protected32", "long64"}[m]
}

// Segment is a segment register with its hidden part.
type Segment struct {
	Selector uint16
	Base     uint64
	Limit    uint32 // in bytes, granularity applied
	Attr     uint16 // descriptor bits 55:40, limit bits cleared: G D/B L AVL 0000 P DPL S TYPE [SDM 3A 3.4.5]
}

// Table is a descriptor table register.
type Table struct {
	Base  uint64
	Limit uint16
}

// Entry is the state of vCPU 0 at the guest's first instruction. Whatever it
// does not name has its value after reset.
type Entry struct {
	Mode                                   Mode
	RIP, RFLAGS                            uint64
	RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP uint64
	CR0, CR3, CR4, EFER                    uint64
	GDT, IDT                               Table
	CS, DS, ES, FS, GS, SS, TR, LDT        Segment

	Vectors bool // PICs and timer are to be as VectorWrites sets them
}

// Guest-physical addresses of what the loaders put into low memory. A kernel
// may overwrite all of it once it has read it.
const (
	gdtAddr       = 0x500   // boot GDT
	startInfoAddr = 0x6000  // hvm_start_info, its module list and memory map
	startInfoEnd  = 0x7000  //
	stackTop      = 0x8ff0  // neither protocol promises a stack; a stray push must not hit a table
	pageTableAddr = 0x9000  // PML4, PDPT and four page directories
	pageTableEnd  = 0xf000  //
	zeroPageAddr  = 0x10000 // struct boot_params
	cmdlineAddr   = 0x20000 //
	cmdlineEnd    = 0x30000 // the command line and its NUL end before this
)

// Descriptor attributes [SDM 3A 3.4.5.1, 3.5].
const (
	attrCode32 = 0xc09b // G D, present, code, execute/read, accessed
	attrCode64 = 0xa09b // G L, present, code, execute/read, accessed
	attrData   = 0xc093 // G B, present, data, read/write, accessed
	attrTSS    = 0x008b // present, busy 32-bit TSS (64-bit in long mode)
	attrLDT    = 0x0082 // present, LDT
)

// Boot selectors. Linux names the first two [LINUX x86/boot 1.15].
const (
	bootCS  = 0x10
	bootDS  = 0x18
	bootTSS = 0x20
)

// Control register bits [SDM 3A 2.5].
const (
	cr0PE   = 1 << 0
	cr0ET   = 1 << 4 // fixed to 1
	cr0PG   = 1 << 31
	cr4PAE  = 1 << 5
	eferLME = 1 << 8
	eferLMA = 1 << 10
)

// rflagsFixed is the bit of RFLAGS that always reads 1 [SDM 1 3.4.3].
const rflagsFixed = 1 << 1

// flatEntry returns an entry with flat segments and writes the GDT behind them.
func flatEntry(m Memory, codeAttr uint16) (Entry, error) { return flatEntryAt(m, gdtAddr, codeAttr) }

// flatEntryAt is flatEntry with the GDT at another place.
func flatEntryAt(m Memory, gdtAddr uint64, codeAttr uint16) (Entry, error) {
	flat := func(sel, attr uint16) Segment {
		return Segment{Selector: sel, Limit: 0xffffffff, Attr: attr}
	}
	e := Entry{
		RFLAGS: rflagsFixed,
		CR0:    cr0PE | cr0ET,
		RSP:    stackTop,
		CS:     flat(bootCS, codeAttr),
		TR:     Segment{Selector: bootTSS, Limit: 0x67, Attr: attrTSS},
		LDT:    Segment{Attr: attrLDT},
	}
	for _, s := range []*Segment{&e.DS, &e.ES, &e.FS, &e.GS, &e.SS} {
		*s = flat(bootDS, attrData)
	}
	// The TSS descriptor takes two slots, as long mode reads it.
	gdt := make([]byte, 0, 48)
	for _, s := range []Segment{{}, {}, e.CS, e.DS, e.TR, {}} {
		gdt = le64(gdt, s.descriptor())
	}
	e.GDT = Table{Base: gdtAddr, Limit: uint16(len(gdt) - 1)}
	return e, put(m, gdtAddr, gdt)
}

// descriptor is the segment's 8-byte GDT entry [SDM 3A 3.4.5]. The base is
// below 16 MiB in every table written here: its top byte is not encoded.
func (s Segment) descriptor() uint64 {
	limit := uint64(s.Limit)
	if s.Attr&0x8000 != 0 {
		limit >>= 12
	}
	return limit&0xffff | s.Base&0xffffff<<16 | uint64(s.Attr&0xf0ff)<<40 | limit>>16&0xf<<48
}

// Config is what a directly loaded guest gets.
type Config struct {
	RAM     uint64 // bytes of guest memory
	Kernel  []byte // bzImage, ELF file or multiboot image
	Initrd  []byte // empty: none
	Cmdline string
	// ModuleArgs follow the initrd's name in the string of a multiboot module.
	ModuleArgs string
	Platform
}

// Boot writes the machine's tables and the kernel into memory and returns how
// to enter it. It may be called again after a reset.
func Boot(m Memory, c Config) (Entry, error) {
	if c.RAM < minRAM {
		return Entry{}, &Error{
			Code: CodeMemory, Field: "memory", Have: c.RAM, Want: minRAM,
			What: "memory of " + mib(c.RAM) + " is too small for a PC",
			Why:  "the tables and the first megabyte's holes need " + mib(minRAM),
			Hint: "-m " + mibFlag(minRAM),
		}
	}
	var load func(Memory, Config) (Entry, error)
	switch Detect(c.Kernel) {
	case KindBzImage:
		load = LoadBzImage
	case KindPVH:
		load = LoadELF
	case KindMultiboot:
		load = LoadMultiboot
	default:
		return Entry{}, unsupported(c.Kernel)
	}
	if err := WriteTables(m, c.Platform); err != nil {
		return Entry{}, err
	}
	return load(m, c)
}
