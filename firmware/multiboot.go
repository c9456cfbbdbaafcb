package firmware

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The multiboot 1 header and information structure [MULTIBOOT 3.1, 3.3].
const (
	mbHeaderMagic = 0x1badb002
	mbBootMagic   = 0x2badb002 // in EAX at the entry
	mbSearch      = 8192       // the header lies in the first bytes of the image

	mbVideo   = 1 << 2  // wants a video mode: there is no display to set one on
	mbKludge  = 1 << 16 // the header has load addresses
	mbUnknown = 0xfff8  // flags that a loader must know, and this one does not

	mbInfoMemory  = 1 << 0
	mbInfoCmdline = 1 << 2
	mbInfoModules = 1 << 3
	mbInfoMmap    = 1 << 6
	mbInfoName    = 1 << 9

	mbInfoSize = 88
	mbModSize  = 16
	mbArgv0    = "kernel" // first word of the command line
	mbModule   = "initrd" // and of the module's string
	mbLoader   = "godwit"
)

// mbHeader is the multiboot header of an image.
type mbHeader struct {
	off, flags                         uint32
	addr, load, loadEnd, bssEnd, entry uint32
}

// findMultiboot looks for a header with a good checksum in the first 8 KiB,
// 4-byte aligned [MULTIBOOT 3.1].
func findMultiboot(image []byte) (h mbHeader, ok bool) {
	head := image[:min(len(image), mbSearch)]
	for off := 0; off+12 <= len(head); off += 4 {
		w := func(i int) uint32 {
			if off+4*i+4 > len(image) {
				return 0
			}
			return binary.LittleEndian.Uint32(image[off+4*i:])
		}
		if w(0) == mbHeaderMagic && w(0)+w(1)+w(2) == 0 {
			return mbHeader{uint32(off), w(1), w(3), w(4), w(5), w(6), w(7)}, true
		}
	}
	return h, false
}

// LoadMultiboot loads an image by its multiboot header's addresses, or without
// them as an ELF file, and enters it in flat 32-bit protected mode with
// EAX = 2badb002 and EBX = the information structure [MULTIBOOT 3.2]. The
// initrd is module 0.
func LoadMultiboot(m Memory, c Config) (Entry, error) {
	f, err := multibootImage(c.Kernel)
	if err != nil {
		return Entry{}, err
	}
	end, err := f.checkMultiboot(LowRAM(c.RAM))
	if err != nil {
		return Entry{}, err
	}
	cmdline, err := checkCmdline(mbArgv0+" "+c.Cmdline, cmdlineEnd-cmdlineAddr-1)
	if err != nil {
		return Entry{}, err
	}
	// As boot loaders do, the module follows the kernel: early page tables
	// often map no more than the first few MiB.
	initrd := (max(end, romEnd) + pageSize - 1) &^ (pageSize - 1)
	top := initrd + uint64(len(c.Initrd))
	if len(c.Initrd) > 0 && top > LowRAM(c.RAM) {
		return Entry{}, memoryError(c.RAM, top, "it ends at "+mib(end)+" and has an initrd of "+mib(uint64(len(c.Initrd))))
	}
	if err := writeVectors(m); err != nil { // before the kernel, which may lie there
		return Entry{}, err
	}
	if err := f.load(m, c.Kernel); err != nil {
		return Entry{}, err
	}
	if err := put(m, initrd, c.Initrd); err != nil {
		return Entry{}, err
	}
	module, err := checkCmdline(strings.TrimSpace(mbModule+" "+c.ModuleArgs), cmdlineEnd-cmdlineAddr-1)
	if err != nil {
		return Entry{}, err
	}
	at, info := f.placeInfo(func(at uint64) []byte {
		return multibootInfo(at, c.RAM, cmdline, module, initrd, uint64(len(c.Initrd)))
	})
	if at == 0 {
		return Entry{}, corrupt(uint64(len(info)), facsAddr, "it leaves no %d bytes below 636 KiB for the boot information", len(info))
	}
	e, err := flatEntryAt(m, at, attrCode32)
	if err != nil {
		return Entry{}, err
	}
	e.Mode, e.RIP, e.RAX, e.RBX, e.Vectors = Protected32, f.entry, mbBootMagic, at+mbGDTRoom, true
	return e, put(m, e.RBX, info)
}

// mbGDTRoom is what the GDT takes before the information.
const mbGDTRoom = 64

// multibootImage tells what of the image goes where.
func multibootImage(image []byte) (*elfFile, error) {
	h, ok := findMultiboot(image)
	if !ok {
		return nil, corrupt(0, 0, "it has no multiboot header")
	}
	if bad := h.flags & mbUnknown; bad != 0 {
		return nil, &Error{
			Code: CodeUnsupported, Field: "kernel", Have: uint64(h.flags), Want: 0xffff &^ mbUnknown,
			What: "kernel demands unknown multiboot features",
			Why:  fmt.Sprintf("header flags %#x are not in the specification", bad),
		}
	}
	if h.flags&mbKludge != 0 {
		return h.kludge(image)
	}
	f, err := parseELF(image)
	if err != nil {
		return nil, err
	}
	f.entry = f.start
	for _, s := range f.loads {
		// Kernels linked high name a virtual entry.
		if d := f.start - s.vaddr; d < s.memsz {
			f.entry = s.paddr + d
			break
		}
	}
	return f, nil
}

// kludge makes one segment of the header's addresses [MULTIBOOT 3.1.3].
func (h mbHeader) kludge(image []byte) (*elfFile, error) {
	if have := len(image) - int(h.off); have < 32 {
		return nil, corrupt(uint64(have), 32, "its multiboot header is cut off after %d bytes", have)
	}
	if h.load > h.addr || h.addr-h.load > h.off {
		return nil, corrupt(uint64(h.load), uint64(h.addr), "its multiboot load address %#x does not match a header at offset %#x for %#x",
			h.load, h.off, h.addr)
	}
	off := uint64(h.off - (h.addr - h.load))
	n := uint64(len(image)) - off
	if h.loadEnd != 0 {
		if h.loadEnd < h.load || uint64(h.loadEnd-h.load) > n {
			return nil, corrupt(uint64(h.loadEnd), uint64(h.load)+n, "its multiboot load end %#x is not in the file, which ends at %#x",
				h.loadEnd, uint64(h.load)+n)
		}
		n = uint64(h.loadEnd - h.load)
	}
	size := n
	if h.bssEnd != 0 {
		if uint64(h.bssEnd) < uint64(h.load)+n {
			return nil, corrupt(uint64(h.bssEnd), uint64(h.load)+n, "its multiboot bss ends at %#x, before its data", h.bssEnd)
		}
		size = uint64(h.bssEnd - h.load)
	}
	return &elfFile{
		loads: []elfSegment{{kind: ptLoad, off: off, paddr: uint64(h.load), filesz: n, memsz: size}},
		entry: uint64(h.entry),
	}, nil
}

// checkMultiboot verifies that the segments are disjoint, in RAM, clear of ROM,
// and hold the entry. It returns the end of the highest one.
func (f *elfFile) checkMultiboot(ram uint64) (end uint64, err error) {
	entryOK := false
	for _, s := range f.loads {
		top := s.paddr + s.memsz
		switch {
		case top < s.paddr || top > highRAMBase:
			return 0, corrupt(s.memsz, highRAMBase, "a segment of %#x bytes at %#x ends beyond 4 GiB", s.memsz, s.paddr)
		case s.paddr < end:
			return 0, corrupt(s.paddr, end, "a segment at %#x overlaps the one that ends at %#x", s.paddr, end)
		case s.paddr < romEnd && top > facsAddr:
			return 0, corrupt(s.paddr, romEnd, "a segment at %#x-%#x overlaps ROM or devices below 1 MiB", s.paddr, top)
		case top > ram:
			return 0, memoryError(ram, top, fmt.Sprintf("it has to be loaded at %#x-%#x", s.paddr, top))
		}
		entryOK = entryOK || f.entry >= s.paddr && f.entry-s.paddr < s.memsz
		end = top
	}
	if !entryOK {
		return 0, corrupt(f.entry, end, "its entry %#x is in none of its segments", f.entry)
	}
	return end, nil
}

// placeInfo finds a page in low memory that the kernel leaves free, from 9000
// up, then from 1000. It returns 0 when there is none.
func (f *elfFile) placeInfo(build func(at uint64) []byte) (at uint64, info []byte) {
	size := mbGDTRoom + uint64(len(build(0)))
	for _, r := range [...][2]uint64{{0x9000, facsAddr}, {0x1000, 0x9000}} {
		for at = r[0]; at+size <= r[1]; at += pageSize {
			if f.free(at, size) {
				return at, build(at + mbGDTRoom)
			}
		}
	}
	return 0, build(0)
}

func (f *elfFile) free(at, n uint64) bool {
	for _, s := range f.loads {
		if at < s.paddr+s.memsz && s.paddr < at+n {
			return false
		}
	}
	return true
}

// multibootInfo encodes the information structure for address at and, behind
// it, what it points to.
func multibootInfo(at, ram uint64, cmdline, module []byte, initrd, size uint64) []byte {
	var mmap []byte
	for _, e := range E820(ram) {
		mmap = le32(mmap, 20)
		mmap = le64(le64(mmap, e.Addr), e.Size)
		mmap = le32(mmap, uint32(e.Type))
	}
	mods := uint32(0)
	if size > 0 {
		mods = 1
	}
	modAt := uint32(at) + mbInfoSize
	mmapAt := modAt + mbModSize
	nameAt := mmapAt + uint32(len(mmap))
	modNameAt := nameAt + uint32(len(mbLoader)) + 1
	cmdAt := modNameAt + uint32(len(module))

	b := le32(nil, mbInfoMemory|mbInfoCmdline|mbInfoModules|mbInfoMmap|mbInfoName)
	b = le32(b, facsAddr>>10)                    // mem_lower, KiB
	b = le32(b, uint32((LowRAM(ram)-1<<20)>>10)) // mem_upper, KiB from 1 MiB
	b = le32(b, 0)                               // boot device: not given
	b = le32(b, cmdAt)
	b = le32(le32(b, mods), modAt)
	b = append(b, make([]byte, 16)...) // symbols: not given
	b = le32(le32(b, uint32(len(mmap))), mmapAt)
	b = append(b, make([]byte, 12)...) // drives, configuration table: not given
	b = le32(b, nameAt)
	b = append(b, make([]byte, mbInfoSize-len(b))...)

	b = le32(le32(b, uint32(initrd)), uint32(initrd+size))
	b = le32(le32(b, modNameAt), 0)
	b = append(b, mmap...)
	b = append(b, mbLoader+"\x00"...)
	return append(append(b, module...), cmdline...)
}
