package rehearse

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"godwit/backend/disk"
	"godwit/machine"
)

// The disks of each machine are overlays over the copies of the VM's: both sides of a move
// reach the same ones, and only who may write them changes, as between hosts that share them.

// heir is to whom disks belong between the one side and the other.
const heir = "the rehearsal"

// rack is the disks of a machine.
type rack struct {
	f      *Fork
	of     *rack // whose disks these are until they are handed over; nil: they are its own
	drives []*disk.Drive
	writes []*disk.Drive // of these, those that are not only read
	files  []string      // of those that are its own
}

// open opens a disk of the machine.
func (r *rack) open(c *machine.DiskConfig) (machine.Disk, error) {
	o := disk.DriveOptions{Format: disk.Qcow2, Claim: disk.Claim{Name: "lab"}}
	path := ""
	switch {
	case c.ReadOnly:
		path, o = c.File, disk.DriveOptions{Format: c.Format, ReadOnly: true}
	case r.of != nil:
		path, o.Later = r.of.writes[len(r.writes)].Path(), c.Size
	default:
		path = r.f.copied(c.ID)
		r.f.overlays++
		o.Overlay = fmt.Sprint(path, ".", r.f.overlays)
		r.files = append(r.files, o.Overlay)
	}
	d, err := disk.OpenDrive(path, o)
	if err != nil {
		return nil, err
	}
	if r.drives = append(r.drives, d); !c.ReadOnly {
		r.writes = append(r.writes, d)
	}
	return d, nil
}

// take hands the disks over to this machine.
func (r *rack) take() error {
	if err := disk.HandOverAll(context.Background(), r.of.writes, heir); err != nil {
		return err
	}
	return disk.OpenAll(r.writes, heir, "lab")
}

// remove removes what was written, once the machines are closed.
func (r *rack) remove() error {
	var errs []error
	for _, f := range r.files {
		errs = append(errs, disk.Remove(f))
	}
	r.files = nil
	return errors.Join(errs...)
}

// digest covers all that lies above the images at the bottom: what the machine wrote.
func (r *rack) digest() (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	b := make([]byte, disk.TrackBlock)
	for i, d := range r.writes {
		if err := d.Drain(context.Background()); err != nil {
			return sum, err
		}
		if err := d.Err(); err != nil {
			return sum, err
		}
		set, err := d.Present(true)
		if err != nil {
			return sum, err
		}
		for w, word := range set {
			for ; word != 0; word &= word - 1 {
				block := int64(w)*64 + int64(bits.TrailingZeros64(word))
				off := block * disk.TrackBlock
				p := b[:min(disk.TrackBlock, d.Size()-off)]
				if err := d.Look(p, off); err != nil {
					return sum, err
				}
				h.Write(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(i)), uint64(block)))
				h.Write(p)
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
