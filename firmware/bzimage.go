package firmware

import (
	"encoding/binary"
	"fmt"
)

// The setup header's fields by their offset in the file and in struct
// boot_params, where they are equal [LINUX x86/boot 1.3].
const (
	hdrSetupSects  = 0x1f1 // byte: 512-byte sectors of real-mode code after the first
	hdrSyssize     = 0x1f4 // dword: protected-mode code in 16-byte units
	hdrVidMode     = 0x1fa // word
	hdrBootFlag    = 0x1fe // word: aa55
	hdrJump        = 0x200 // byte eb, byte: the header ends at 202 + it
	hdrMagic       = 0x202 // "HdrS"
	hdrVersion     = 0x206 // word
	hdrLoader      = 0x210 // byte: type_of_loader
	hdrLoadFlags   = 0x211 // byte
	hdrRamdisk     = 0x218 // dword
	hdrRamdiskSize = 0x21c // dword
	hdrCmdline     = 0x228 // dword
	hdrInitrdMax   = 0x22c // dword: highest address the initrd may end at
	hdrAlignment   = 0x230 // dword
	hdrXLoadFlags  = 0x236 // word
	hdrCmdlineSize = 0x238 // dword: longest command line, without its NUL
	hdrPrefAddress = 0x258 // qword
	hdrInitSize    = 0x260 // dword: memory from the load address until the e820 map is read
	hdrEnd         = 0x264 // the fields up to init_size are there since 2.10
)

// Fields of struct boot_params outside the header [LINUX x86/zero-page].
const (
	zpRSDP       = 0x070 // qword: acpi_rsdp_addr
	zpE820Count  = 0x1e8 // byte
	zpE820       = 0x2d0 // 20-byte entries
	zpHdrLimit   = 0x290 // the header may reach up to here
	zeroPageSize = 0x1000
)

const (
	minVersion   = 0x20c // 2.12: xloadflags
	loadedHigh   = 1 << 0
	xlfKernel64  = 1 << 0
	entry64      = 0x200 // of the 64-bit entry, from the load address
	loaderOther  = 0xff  // type_of_loader: no number assigned
	vidNormal    = 0xffff
	minAlignment = 0x1000
)

// isBzImage knows a Linux image by its boot flag and magic.
func isBzImage(image []byte) bool {
	return len(image) >= hdrEnd && binary.LittleEndian.Uint16(image[hdrBootFlag:]) == 0xaa55 &&
		string(image[hdrMagic:hdrMagic+4]) == "HdrS"
}

// bzImage is a checked setup header.
type bzImage struct {
	header   []byte // 1f1 up to its end: copied to boot_params as it is
	code     []byte // the protected-mode part
	load     uint64 // address it is loaded at
	end      uint64 // load + init_size: what it uses before it reads the memory map
	initrd   uint64 // exclusive upper bound of the initrd
	cmdline  uint64 // longest command line
	initSize uint64
	long     bool // it has a 64-bit entry
}

// parseBzImage validates the setup header.
func parseBzImage(image []byte) (*bzImage, error) {
	if !isBzImage(image) {
		return nil, corrupt(uint64(len(image)), hdrEnd, "it has no setup header")
	}
	u16 := func(off int) uint64 { return uint64(binary.LittleEndian.Uint16(image[off:])) }
	u32 := func(off int) uint64 { return uint64(binary.LittleEndian.Uint32(image[off:])) }
	if v := u16(hdrVersion); v < minVersion {
		return nil, &Error{
			Code: CodeUnsupported, Field: "kernel", Have: v, Want: minVersion,
			What: fmt.Sprintf("kernel speaks boot protocol %d.%02d", v>>8, v&0xff),
			Why:  "2.12 (Linux 3.8) or later is needed", Hint: "a newer kernel",
		}
	}
	if image[hdrLoadFlags]&loadedHigh == 0 {
		return nil, &Error{
			Code: CodeUnsupported, Field: "kernel", What: "kernel is a zImage",
			Why: "it wants to be loaded below 1 MiB (LOADED_HIGH is clear)", Hint: "a bzImage",
		}
	}
	headerEnd := hdrMagic + int(image[hdrJump+1])
	if headerEnd < hdrEnd || headerEnd > zpHdrLimit || headerEnd > len(image) {
		return nil, corrupt(uint64(headerEnd), hdrEnd, "its setup header ends at %#x, not in %#x-%#x", headerEnd, hdrEnd, zpHdrLimit)
	}
	sects := uint64(image[hdrSetupSects])
	if sects == 0 {
		sects = 4 // for old images [LINUX x86/boot 1.3]
	}
	codeOff, codeLen := (sects+1)*512, u32(hdrSyssize)*16
	// The last unit may be cut: syssize counts whole ones.
	if codeOff > uint64(len(image)) || codeLen > uint64(len(image))-codeOff+15 {
		return nil, corrupt(uint64(len(image)), codeOff+codeLen, "the file has %d bytes, its header promises %d",
			len(image), codeOff+codeLen)
	}
	b := &bzImage{
		header:   image[hdrSetupSects:headerEnd],
		code:     image[codeOff:min(codeOff+codeLen, uint64(len(image)))],
		load:     binary.LittleEndian.Uint64(image[hdrPrefAddress:]),
		initrd:   u32(hdrInitrdMax) + 1,
		cmdline:  u32(hdrCmdlineSize),
		initSize: u32(hdrInitSize),
		long:     u16(hdrXLoadFlags)&xlfKernel64 != 0,
	}
	return b, b.place(u32(hdrAlignment))
}

// place checks the load address. Why the preferred one and no other: below it
// the kernel's own loader would move up to it anyway, and above it only costs
// memory.
func (b *bzImage) place(align uint64) error {
	switch {
	case align < minAlignment || align&(align-1) != 0:
		return corrupt(align, minAlignment, "its alignment %#x is no power of two of at least %#x", align, minAlignment)
	case b.load < romEnd || b.load >= lowRAMLimit:
		return corrupt(b.load, lowRAMLimit, "its load address %#x is not in %#x-%#x", b.load, romEnd, lowRAMLimit)
	case b.load&(align-1) != 0:
		return corrupt(b.load, align, "its load address %#x is no multiple of %#x", b.load, align)
	case len(b.code) <= entry64:
		return corrupt(uint64(len(b.code)), entry64, "its code has only %d bytes", len(b.code))
	case b.initSize < uint64(len(b.code)):
		return corrupt(b.initSize, uint64(len(b.code)), "its init_size %#x is less than its %#x bytes of code", b.initSize, len(b.code))
	case b.initSize > lowRAMLimit-b.load:
		return corrupt(b.initSize, lowRAMLimit-b.load, "its init_size %#x at %#x ends beyond %#x", b.initSize, b.load, lowRAMLimit)
	}
	b.end = b.load + b.initSize
	return nil
}

// Memory that a kernel needs beyond its own and twice the initrd's (packed and
// unpacked), and the unit in which the need is told. Measured: Debian 6.1's
// cloud kernel runs out of memory at boot with 2 MiB to spare.
const (
	kernelRoom = 16 << 20
	roomUnit   = 16 << 20
)

// LoadBzImage loads a Linux bzImage by the 64-bit boot protocol: identity page
// tables for the first 4 GiB, RSI = boot_params [LINUX x86/boot 1.15]. A kernel
// without a 64-bit entry is entered by the 32-bit one: paging off, ESI =
// boot_params, and EBP, EDI and EBX zero [LINUX x86/boot 1.14].
func LoadBzImage(m Memory, c Config) (Entry, error) {
	b, err := parseBzImage(c.Kernel)
	if err != nil {
		return Entry{}, err
	}
	cmdline, err := checkCmdline(c.Cmdline, min(b.cmdline, cmdlineEnd-cmdlineAddr-1))
	if err != nil {
		return Entry{}, err
	}
	want := (b.end + 2*uint64(len(c.Initrd)) + kernelRoom + roomUnit - 1) &^ (roomUnit - 1)
	initrd, err := placeInitrd(c, b.end, min(b.initrd, lowRAMLimit), want,
		fmt.Sprintf("it loads at %s, unpacks itself in %s", mib(b.load), mib(b.initSize)))
	if err != nil {
		return Entry{}, err
	}
	for _, w := range []struct {
		pa   uint64
		data []byte
	}{
		{b.load, b.code},
		{initrd, c.Initrd},
		{cmdlineAddr, cmdline},
		{zeroPageAddr, b.zeroPage(E820(c.RAM), initrd, uint64(len(c.Initrd)))},
	} {
		if err := put(m, w.pa, w.data); err != nil {
			return Entry{}, err
		}
	}
	return b.entry(m)
}

// entry writes what the kernel's entry needs and returns it.
func (b *bzImage) entry(m Memory) (Entry, error) {
	if !b.long {
		e, err := flatEntry(m, attrCode32)
		e.Mode, e.RIP, e.RSI = Protected32, b.load, zeroPageAddr
		return e, err
	}
	if err := put(m, pageTableAddr, identityTables()); err != nil {
		return Entry{}, err
	}
	e, err := flatEntry(m, attrCode64)
	e.Mode, e.RIP, e.RSI = Long64, b.load+entry64, zeroPageAddr
	e.CR0, e.CR3, e.CR4, e.EFER = e.CR0|cr0PG, pageTableAddr, cr4PAE, eferLME|eferLMA
	return e, err
}

// zeroPage encodes struct boot_params.
func (b *bzImage) zeroPage(map820 []E820Entry, initrd, initrdSize uint64) []byte {
	p := make([]byte, zeroPageSize)
	copy(p[hdrSetupSects:], b.header)
	binary.LittleEndian.PutUint64(p[zpRSDP:], RSDP)
	binary.LittleEndian.PutUint16(p[hdrVidMode:], vidNormal)
	p[hdrLoader] = loaderOther
	binary.LittleEndian.PutUint32(p[hdrCmdline:], cmdlineAddr)
	// Below 2 GiB or so by initrd_addr_max: ext_ramdisk_image stays 0.
	binary.LittleEndian.PutUint32(p[hdrRamdisk:], uint32(initrd))
	binary.LittleEndian.PutUint32(p[hdrRamdiskSize:], uint32(initrdSize))
	p[zpE820Count] = byte(len(map820))
	table := p[zpE820:zpE820]
	for _, e := range map820 {
		table = le64(table, e.Addr)
		table = le64(table, e.Size)
		table = le32(table, uint32(e.Type))
	}
	return p
}

// identityTables maps the first 4 GiB to themselves with 2 MiB pages: one PML4,
// one PDPT and four page directories [SDM 3A 4.5.4].
func identityTables() []byte {
	const (
		table   = 0x03 // present, writable
		page2M  = 0x83 // and a 2 MiB page
		entries = 512
	)
	b := make([]byte, 0, pageTableEnd-pageTableAddr)
	pdpt, pd := uint64(pageTableAddr+pageSize), uint64(pageTableAddr+2*pageSize)
	b = le64(b, pdpt|table)
	b = append(b, make([]byte, pageSize-8)...)
	for i := range uint64(4) {
		b = le64(b, pd+i*pageSize|table)
	}
	b = append(b, make([]byte, pageSize-4*8)...)
	for i := range uint64(4 * entries) {
		b = le64(b, i<<21|page2M)
	}
	return b
}
