package snapshot

import (
	"bytes"
	"fmt"
)

// NotGodwit says that a file is something else.
type NotGodwit struct{ Looks string } // what it looks like; may be empty

func (e *NotGodwit) Error() string {
	if e.Looks != "" {
		return "not a godwit snapshot: it looks like " + e.Looks
	}
	return "not a godwit snapshot"
}

// looksLike names the kinds of files people mistake for snapshots.
func looksLike(head []byte) string {
	for _, k := range []struct{ magic, name string }{
		{"\x7fELF", "an ELF file"},
		{"QFI\xfb", "a qcow2 disk image"},
		{"QEVM", "a QEMU migration stream"},
		{"LibvirtQemudSave", "a libvirt save file"},
		{"KDMV", "a VMDK disk image"},
		{"conectix", "a VHD disk image"},
		{"vhdxfile", "a VHDX disk image"},
		{"\x1f\x8b", "a gzip file"},
		{"\x28\xb5\x2f\xfd", "a zstd file"},
		{"\xfd7zXZ", "an xz file"},
		{"MZ", "a kernel or Windows executable"},
		{"{", "a JSON file"},
		{migrateMagic, "a godwit migration stream"},
	} {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return k.name
		}
	}
	return ""
}

const migrateMagic = "GODWITmg" // package migrate's preface

// NewerFormat says that a file needs a newer godwit.
type NewerFormat struct {
	Have uint16 // oldest reader the file allows
	Want uint16 // newest format this build reads
}

func (e *NewerFormat) Error() string {
	return fmt.Sprintf("snapshot needs a reader of format %d; this build of godwit reads up to %d", e.Have, e.Want)
}

// Truncated says that a file has no trailer: it was cut short, or its writer
// never finished.
type Truncated struct{ Size int64 } // bytes the file has

func (e *Truncated) Error() string {
	return fmt.Sprintf("snapshot is incomplete: %d bytes and no trailer at the end", e.Size)
}

// Altered says that bytes of a file are not those that were written.
type Altered struct {
	Part string // "superblock", "index", "section uart/uart0", "page 17", "index of pages 512 to 1023"
	Page int64  // the page where Part is one, else -1
	Err  error  // how it shows; may be nil
}

func altered(part string, err error) *Altered { return &Altered{Part: part, Page: -1, Err: err} }

func alteredPage(p uint32, err error) *Altered {
	return &Altered{Part: fmt.Sprintf("page %d", p), Page: int64(p), Err: err}
}

func (e *Altered) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("snapshot is damaged: %s: %v", e.Part, e.Err)
	}
	return fmt.Sprintf("snapshot is damaged: %s does not match its checksum", e.Part)
}

func (e *Altered) Unwrap() error { return e.Err }

// NeedsParent says that a file holds only what changed since another snapshot,
// which is not where it should be.
type NeedsParent struct {
	Parent UUID
	Err    error // why it could not be had
}

func (e *NeedsParent) Error() string {
	return fmt.Sprintf("snapshot builds on snapshot %s, which cannot be read: %v", e.Parent, e.Err)
}

func (e *NeedsParent) Unwrap() error { return e.Err }

// UnknownSection says that a section has no meaning to this build.
type UnknownSection struct {
	ID        string
	Version   uint16
	Newest    uint16 // newest version known, if NameKnown
	NameKnown bool
}

func (e *UnknownSection) Error() string {
	if e.NameKnown {
		return fmt.Sprintf("section %s has version %d; this build of godwit knows up to %d", e.ID, e.Version, e.Newest)
	}
	return fmt.Sprintf("section %s is required and unknown to this build of godwit", e.ID)
}
