package firmware

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

const elfMagic = "\x7fELF"

// Bounds on what an ELF file may ask for.
const (
	maxProgramHeaders = 256
	maxNotes          = 4096
)

// ELF constants [ELF 1.2, ELF-64 1.5].
const (
	elfClass32, elfClass64 = 1, 2
	elfMachine386          = 3
	elfMachineAMD64        = 62
	ptLoad, ptNote         = 1, 4
)

// elfSegment is one program header, widened to 64 bits.
type elfSegment struct {
	kind          uint32
	off, paddr    uint64
	vaddr         uint64
	filesz, memsz uint64
	align         uint64
}

// elfFile is what the PVH loader needs of an ELF file.
type elfFile struct {
	loads    []elfSegment // PT_LOAD, by rising physical address
	hasEntry bool         // an XEN_ELFNOTE_PHYS32_ENTRY is present
	entry    uint64       // its value
	start    uint64       // e_entry
}

// elfLayout is where one class keeps its fields. Class 32 fields are 4 bytes
// wide where word is 4.
type elfLayout struct {
	word                         int
	phoff, phentsize, phnum      int // in the file header
	phsize                       int
	offset, paddr, filesz, memsz int // in a program header; p_type is at 0
	align, vaddr                 int
	entry                        int // in the file header
}

var elfLayouts = map[byte]elfLayout{
	elfClass32: {4, 28, 42, 44, 32, 4, 12, 16, 20, 28, 8, 24},
	elfClass64: {8, 32, 54, 56, 56, 8, 24, 32, 40, 48, 16, 24},
}

// parseELF reads the program headers and the notes. It keeps no more than the
// image's own bytes imply and never trusts an offset.
func parseELF(image []byte) (*elfFile, error) {
	if len(image) < 52 || string(image[:4]) != elfMagic {
		return nil, corrupt(uint64(len(image)), 52, "the ELF header is cut off after %d bytes", len(image))
	}
	l, ok := elfLayouts[image[4]]
	machine := binary.LittleEndian.Uint16(image[18:])
	if !ok || image[5] != 1 || machine != elfMachine386 && machine != elfMachineAMD64 {
		return nil, &Error{
			Code: CodeUnsupported, Field: "kernel", Have: uint64(machine), Want: elfMachineAMD64,
			What: "kernel is an ELF file for another processor", Why: "only little-endian x86 is emulated",
		}
	}
	segs, err := l.segments(image)
	if err != nil {
		return nil, err
	}
	f := &elfFile{start: l.readWord(image, l.entry)}
	for _, s := range segs {
		switch {
		case s.filesz > uint64(len(image)) || s.off > uint64(len(image))-s.filesz:
			return nil, corrupt(s.filesz, uint64(len(image)), "a segment of %d bytes at %#x ends beyond the file's %d bytes",
				s.filesz, s.off, len(image))
		case s.kind == ptNote && !f.hasEntry:
			f.entry, f.hasEntry = findEntry(image[s.off:s.off+s.filesz], s.align)
		case s.kind == ptLoad && s.memsz != 0:
			f.loads = append(f.loads, s)
		}
	}
	slices.SortStableFunc(f.loads, func(a, b elfSegment) int { return cmp.Compare(a.paddr, b.paddr) })
	return f, nil
}

func (l elfLayout) readWord(b []byte, off int) uint64 {
	if l.word == 4 {
		return uint64(binary.LittleEndian.Uint32(b[off:]))
	}
	return binary.LittleEndian.Uint64(b[off:])
}

// segments reads the PT_LOAD and PT_NOTE program headers.
func (l elfLayout) segments(image []byte) ([]elfSegment, error) {
	word := l.readWord
	if len(image) < l.phnum+2 {
		return nil, corrupt(uint64(len(image)), uint64(l.phnum+2), "the ELF header is cut off after %d bytes", len(image))
	}
	off, size := word(image, l.phoff), uint64(binary.LittleEndian.Uint16(image[l.phentsize:]))
	n := uint64(binary.LittleEndian.Uint16(image[l.phnum:]))
	switch {
	case n > maxProgramHeaders:
		return nil, corrupt(n, maxProgramHeaders, "it has %d program headers, at most %d are read", n, maxProgramHeaders)
	case n > 0 && size < uint64(l.phsize):
		return nil, corrupt(size, uint64(l.phsize), "its program headers have %d bytes, at least %d are needed", size, l.phsize)
	case off > uint64(len(image)) || n*size > uint64(len(image))-off:
		return nil, corrupt(off, uint64(len(image)), "its program headers at %#x end beyond the file's %d bytes", off, len(image))
	}
	var segs []elfSegment
	for i := range n {
		h := image[off+i*size:]
		s := elfSegment{
			kind: binary.LittleEndian.Uint32(h), off: word(h, l.offset), paddr: word(h, l.paddr), vaddr: word(h, l.vaddr),
			filesz: word(h, l.filesz), memsz: word(h, l.memsz), align: word(h, l.align),
		}
		if s.kind != ptLoad && s.kind != ptNote {
			continue
		}
		if s.kind == ptLoad && s.filesz > s.memsz {
			return nil, corrupt(s.filesz, s.memsz, "a segment has %d bytes in the file and only %d in memory", s.filesz, s.memsz)
		}
		segs = append(segs, s)
	}
	return segs, nil
}

// xenPhys32Entry is XEN_ELFNOTE_PHYS32_ENTRY: the physical address at which a
// PVH guest is entered in 32-bit mode [PVH].
const xenPhys32Entry = 18

// findEntry looks for the PVH note. Notes are padded to 4 bytes, in segments
// aligned to 8 to 8 bytes. A malformed note ends the search: what comes before
// it counts.
func findEntry(notes []byte, align uint64) (entry uint64, ok bool) {
	pad := uint64(3)
	if align == 8 {
		pad = 7
	}
	for range maxNotes {
		if len(notes) < 12 {
			return 0, false
		}
		namesz := uint64(binary.LittleEndian.Uint32(notes))
		descsz := uint64(binary.LittleEndian.Uint32(notes[4:]))
		kind := binary.LittleEndian.Uint32(notes[8:])
		descOff := (12 + namesz + pad) &^ pad
		if descOff+descsz > uint64(len(notes)) {
			return 0, false
		}
		name, desc := notes[12:12+namesz], notes[descOff:descOff+descsz]
		if kind == xenPhys32Entry && bytes.Equal(name, []byte("Xen\x00")) {
			switch descsz {
			case 4:
				return uint64(binary.LittleEndian.Uint32(desc)), true
			case 8:
				return binary.LittleEndian.Uint64(desc), true
			}
			return 0, false
		}
		notes = notes[min((descOff+descsz+pad)&^pad, uint64(len(notes))):]
	}
	return 0, false
}
