package firmware

import "bytes"

// Kind is a kind of bootable image.
type Kind uint8

// Kinds of image, told apart by content, never by name.
const (
	KindUnknown   Kind = iota
	KindBzImage        // Linux, [LINUX x86/boot]
	KindPVH            // ELF with a PVH entry note
	KindMultiboot      // multiboot 1 header
	KindELF            // ELF for x86 without an entry that is known here
)

// String names the kind as shown to users.
func (k Kind) String() string {
	return [...]string{"unknown", "bzImage", "PVH ELF", "multiboot", "ELF"}[k]
}

// Detect tells what kind of image this is.
func Detect(image []byte) Kind {
	if isBzImage(image) {
		return KindBzImage
	}
	isELF := bytes.HasPrefix(image, []byte(elfMagic))
	if isELF {
		if f, err := parseELF(image); err == nil && f.hasEntry {
			return KindPVH
		}
	}
	switch {
	case hasMultiboot(image):
		return KindMultiboot
	case isELF:
		return KindELF
	}
	return KindUnknown
}

func hasMultiboot(image []byte) bool {
	_, ok := findMultiboot(image)
	return ok
}

// formats are files that people take for kernels.
var formats = []struct {
	off   int
	magic string
	name  string
	why   string
	hint  string
}{
	{0, "\x1f\x8b", "gzip data", "it has to be unpacked first", "gunzip < FILE > vmlinux"},
	{0, "\xfd7zXZ\x00", "xz data", "it has to be unpacked first", "xz -d < FILE > vmlinux"},
	{0, "\x28\xb5\x2f\xfd", "zstd data", "it has to be unpacked first", "zstd -d < FILE > vmlinux"},
	{0, "QFI\xfb", "a qcow2 disk image", "a disk is no kernel", "--disk FILE"},
	{0x8001, "CD001", "a CD image", "a disc is no kernel", "--cdrom FILE"},
	{0, "070701", "a cpio archive", "that is an initrd", "--initrd FILE"},
	{0x1fe, "\x55\xaa", "a disk or boot sector", "a disk is no kernel", "--disk FILE"},
}

// unsupported is the error of an image that no loader takes.
func unsupported(image []byte) error {
	if Detect(image) == KindELF {
		// A damaged PVH kernel lands here too: say what is damaged.
		if f, err := parseELF(image); err != nil {
			return err
		} else if !f.hasEntry {
			return noEntryNote()
		}
	}
	for _, f := range formats {
		if len(image) >= f.off && bytes.HasPrefix(image[f.off:], []byte(f.magic)) {
			return &Error{Code: CodeUnknown, Field: "kernel", What: "kernel is " + f.name, Why: f.why, Hint: f.hint}
		}
	}
	return &Error{
		Code: CodeUnknown, Field: "kernel", What: "kernel is in no known format",
		Why: "it is neither a Linux bzImage, nor an ELF file with a PVH entry, nor a multiboot image", Hint: "file FILE",
	}
}

// noEntryNote is the error of an ELF file without the note that PVH needs.
func noEntryNote() error {
	return &Error{
		Code: CodeUnsupported, Field: "kernel", What: "kernel is an ELF file without a PVH entry",
		Why:  "it has no note XEN_ELFNOTE_PHYS32_ENTRY (type 18, name Xen)",
		Hint: "the bzImage, or a kernel built with CONFIG_PVH=y",
	}
}
