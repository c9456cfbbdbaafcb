package firmware

import "fmt"

// hvm_start_info [PVH, xen/include/public/arch-x86/hvm/start_info.h].
const (
	startInfoMagic   = 0x336ec578
	startInfoVersion = 1 // with a memory map
	startInfoSize    = 56
	moduleSize       = 32
)

// LoadELF loads an ELF file by its physical addresses and enters it as [PVH]
// says: flat 32-bit protected mode, paging off, EBX = hvm_start_info. The
// initrd is module 0.
func LoadELF(m Memory, c Config) (Entry, error) {
	f, err := parseELF(c.Kernel)
	if err != nil {
		return Entry{}, err
	}
	if !f.hasEntry {
		return Entry{}, noEntryNote()
	}
	end, err := f.check(LowRAM(c.RAM))
	if err != nil {
		return Entry{}, err
	}
	cmdline, err := checkCmdline(c.Cmdline, cmdlineEnd-cmdlineAddr-1)
	if err != nil {
		return Entry{}, err
	}
	want := end + uint64(len(c.Initrd)) + pageSize
	initrd, err := placeInitrd(c, end, lowRAMLimit, want, "it ends at "+mib(end))
	if err != nil {
		return Entry{}, err
	}
	if err := f.load(m, c.Kernel); err != nil {
		return Entry{}, err
	}
	for _, b := range []struct {
		pa   uint64
		data []byte
	}{
		{startInfoAddr, startInfo(E820(c.RAM), initrd, uint64(len(c.Initrd)))},
		{cmdlineAddr, cmdline},
		{initrd, c.Initrd},
	} {
		if err := put(m, b.pa, b.data); err != nil {
			return Entry{}, err
		}
	}
	e, err := flatEntry(m, attrCode32)
	e.Mode, e.RIP, e.RBX = Protected32, f.entry, startInfoAddr
	return e, err
}

// check verifies that the segments are disjoint, in RAM, clear of the boot
// data, and hold the entry. It returns the end of the highest one.
func (f *elfFile) check(ram uint64) (end uint64, err error) {
	entryOK := false
	for _, s := range f.loads {
		top := s.paddr + s.memsz
		switch {
		case top < s.paddr:
			return 0, corrupt(s.memsz, ram, "a segment of %#x bytes at %#x wraps around", s.memsz, s.paddr)
		case s.paddr < end:
			return 0, corrupt(s.paddr, end, "a segment at %#x overlaps the one that ends at %#x", s.paddr, end)
		case s.paddr < cmdlineEnd && top > gdtAddr, s.paddr < romEnd && top > facsAddr:
			return 0, corrupt(s.paddr, romEnd, "a segment at %#x-%#x overlaps boot data or ROM below 1 MiB", s.paddr, top)
		case top > highRAMBase:
			return 0, corrupt(top, highRAMBase, "a segment at %#x ends beyond 4 GiB", s.paddr)
		case top > ram:
			return 0, memoryError(ram, top+pageSize, fmt.Sprintf("it has to be loaded at %#x-%#x", s.paddr, top))
		}
		entryOK = entryOK || f.entry >= s.paddr && f.entry-s.paddr < s.memsz
		end = top
	}
	if !entryOK {
		return 0, corrupt(f.entry, end, "its PVH entry %#x is in none of its segments", f.entry)
	}
	return end, nil
}

// load copies the segments and clears the rest of each.
func (f *elfFile) load(m Memory, image []byte) error {
	for _, s := range f.loads {
		if err := put(m, s.paddr, image[s.off:s.off+s.filesz]); err != nil {
			return err
		}
		if err := zero(m, s.paddr+s.filesz, s.memsz-s.filesz); err != nil {
			return err
		}
	}
	return nil
}

// startInfo encodes hvm_start_info, the module list and the memory map, which
// follow each other from startInfoAddr.
func startInfo(map820 []E820Entry, initrd, initrdSize uint64) []byte {
	modules := uint32(0)
	modlist := uint64(startInfoAddr + startInfoSize + 8) // 64: each part is 8-byte aligned
	memmap := modlist + moduleSize
	if initrdSize > 0 {
		modules = 1
	}
	b := le32(nil, startInfoMagic)
	b = le32(b, startInfoVersion)
	b = le32(b, 0) // flags
	b = le32(b, modules)
	b = le64(b, modlist)
	b = le64(b, cmdlineAddr)
	b = le64(b, RSDP)
	b = le64(b, memmap)
	b = le32(b, uint32(len(map820)))
	b = le32(b, 0)
	b = le64(b, 0) // padding up to modlist
	for _, v := range []uint64{initrd, initrdSize, 0, 0} {
		b = le64(b, v) // address, size, no command line, reserved
	}
	for _, e := range map820 {
		b = le64(b, e.Addr)
		b = le64(b, e.Size)
		b = le32(b, uint32(e.Type))
		b = le32(b, 0)
	}
	return b
}

// checkCmdline returns the command line with its NUL. limit is without it.
func checkCmdline(s string, limit uint64) ([]byte, error) {
	if uint64(len(s)) > limit {
		return nil, &Error{
			Code: CodeCmdline, Field: "cmdline", Have: uint64(len(s)), Want: limit,
			What: fmt.Sprintf("command line has %d bytes", len(s)),
			Why:  fmt.Sprintf("this kernel takes at most %d", limit), Hint: "a shorter --append",
		}
	}
	for i := range len(s) {
		if s[i] == 0 {
			return nil, &Error{
				Code: CodeCmdline, Field: "cmdline", Have: uint64(i), Want: uint64(len(s)),
				What: fmt.Sprintf("command line has a NUL at byte %d", i),
				Why:  "the kernel would read no further", Hint: "--append without it",
			}
		}
	}
	return append([]byte(s), 0), nil
}

// placeInitrd finds room for the initrd: as high as possible below bound, page
// aligned, above the kernel's end. It returns 0 if there is no initrd. want is
// the least memory for both, why says what it is made of.
func placeInitrd(c Config, end, bound, want uint64, why string) (uint64, error) {
	size := uint64(len(c.Initrd))
	if room := bound - min(bound, end+pageSize); size > room {
		return 0, &Error{
			Code: CodeMemory, Field: "initrd", Have: size, Want: room,
			What: "initrd of " + mib(size) + " is too big",
			Why:  fmt.Sprintf("this kernel ends at %s and takes an initrd below %s", mib(end), mib(bound)),
			Hint: "a smaller --initrd, or a --disk",
		}
	}
	if c.RAM < want {
		return 0, memoryError(c.RAM, want, why+" and has an initrd of "+mib(size))
	}
	if size == 0 {
		return 0, nil
	}
	return (min(bound, LowRAM(c.RAM)) - size) &^ (pageSize - 1), nil
}

// memoryError says that the machine has too little memory for the kernel.
func memoryError(have, want uint64, why string) error {
	return &Error{
		Code: CodeMemory, Field: "memory", Have: have, Want: want,
		What: "kernel does not fit in " + mib(have) + " of memory", Why: why, Hint: "-m " + mibFlag(want),
	}
}
