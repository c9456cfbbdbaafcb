package control

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"godwit/backend/disk"
	"godwit/internal/host"
	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
)

// CopyDisks says whether a machine's disks travel with it.
type CopyDisks string

// How disks travel.
const (
	CopyNone        CopyDisks = ""            // both sides reach the same files
	CopyFull        CopyDisks = "full"        // all that they hold
	CopyIncremental CopyDisks = "incremental" // what overlays hold; the destination has the image below
)

// ParseCopyDisks reads full or incremental.
func ParseCopyDisks(text string) (CopyDisks, error) {
	switch c := CopyDisks(text); c {
	case CopyNone, CopyFull, CopyIncremental:
		return c, nil
	}
	return "", Fail("usage", fmt.Sprintf("cannot copy disks by %q", text), "there are full and incremental", "--copy-disks full")
}

// The two packages count in the same blocks.
var _ = [1]struct{}{}[migrate.BlockSize-disk.TrackBlock]

// diskCopy says how a disk travels.
type diskCopy struct {
	ID     string    `cbor:"1,keyasint"`
	How    CopyDisks `cbor:"2,keyasint"`
	Size   int64     `cbor:"3,keyasint"`           // bytes
	Format string    `cbor:"4,keyasint"`           // of the copy
	Needs  int64     `cbor:"5,keyasint,omitempty"` // bytes that it takes, about
	// The image below, of CopyIncremental: where the source has it, and what it reads as.
	Base       string `cbor:"6,keyasint,omitempty"`
	BaseFormat string `cbor:"7,keyasint,omitempty"`
	BaseSize   int64  `cbor:"8,keyasint,omitempty"`
	BaseSum    []byte `cbor:"9,keyasint,omitempty"` // disk.Sum
}

// secCopies tells the destination of disks that are copied.
const secCopies = "disk-copies"

// copied is a drive as a migration reads it.
type copied struct {
	*disk.Drive
	above bool
}

// Track begins to note what is written, and tells what there is.
func (c copied) Track() ([]uint64, error) {
	c.Drive.Track()
	return c.Present(c.above)
}

// Read copies a block.
func (c copied) Read(block uint32, b []byte) error {
	return c.Look(b, int64(block)*migrate.BlockSize)
}

// Disks are those that travel.
func (d *departing) Disks() (out []migrate.Disk) {
	for i := range d.v.copies {
		out = append(out, copied{d.r.drives[i], d.v.copies[i].How == CopyIncremental})
	}
	return out
}

// Config also tells of the disks that travel.
func (d *departing) Config() ([]snapshot.Section, error) {
	secs, err := d.Departing.Config()
	if err != nil || len(d.v.copies) == 0 {
		return secs, err
	}
	b, err := cbor.Marshal(d.v.copies)
	return append(secs, snapshot.Section{Name: secCopies, Version: 1, Required: true, Data: b}), err
}

// plan finds out how each disk is to be copied. It may take a while.
func (v *outgoing) plan(ctx context.Context, r *Runner) error {
	if v.copy == CopyNone {
		return nil
	}
	var disks []machine.DiskConfig
	if err := r.onMachine(func() error { disks = r.m.Config().Disks; return nil }); err != nil {
		return err
	}
	for i, c := range disks {
		p := diskCopy{ID: c.ID, How: v.copy, Size: c.Size, Format: r.drives[i].Format()}
		if v.copy == CopyIncremental {
			if err := p.below(ctx, r.drives[i]); err != nil {
				return err
			}
		}
		set, err := r.drives[i].Present(v.copy == CopyIncremental)
		if err != nil {
			return err
		}
		for _, w := range set {
			p.Needs += int64(bits.OnesCount64(w)) * disk.TrackBlock
		}
		v.copies = append(v.copies, p)
	}
	return nil
}

// below finds the image that the destination is to have.
func (p *diskCopy) below(ctx context.Context, d *disk.Drive) error {
	base, format, err := disk.Bottom(d.Path(), disk.Options{Format: d.Format()})
	if err != nil {
		return err
	}
	if base == d.Path() && !d.ReadOnly() {
		return Fail("usage", fmt.Sprintf("disk %s cannot be copied incrementally", p.ID), d.Path()+" is over no other image", "--copy-disks full")
	}
	i, err := disk.Inspect(base, disk.Options{Format: format})
	if err != nil {
		return err
	}
	sum, err := disk.Sum(ctx, base, disk.Options{Format: format})
	p.Format, p.Base, p.BaseFormat, p.BaseSize, p.BaseSum = disk.Qcow2, base, i.Format, i.Size, sum[:]
	return err
}

// copiesOf reads what a peer says of disks that travel.
func copiesOf(secs []snapshot.Section) (out []diskCopy, err error) {
	s := snapshot.Find(secs, secCopies, "")
	if s == nil {
		return nil, nil
	}
	if s.Version != 1 {
		return nil, fmt.Errorf("section %s has version %d, this build reads 1", secCopies, s.Version)
	}
	return out, cbor.Unmarshal(s.Data, &out)
}

// base is where this host has the image below a disk.
func (r *Runner) base(p *diskCopy) string {
	if i := slices.IndexFunc(r.spec.DiskFiles, func(f DiskFile) bool { return f.ID == p.ID }); i >= 0 {
		return r.spec.DiskFiles[i].File
	}
	return p.Base
}

// vetCopies says what keeps this host from taking the disks of a machine.
func (r *Runner) vetCopies(cfg *machine.Config, copies []diskCopy) (bad []migrate.Mismatch) {
	no := func(field, have, want string) {
		bad = append(bad, migrate.Mismatch{Field: field, Have: have, Want: want})
	}
	if len(copies) != len(cfg.Disks) {
		no("disks", fmt.Sprint(len(copies), " copied"), fmt.Sprint(len(cfg.Disks)))
		return bad
	}
	needs := int64(0)
	for i := range copies {
		p, c := &copies[i], &cfg.Disks[i]
		needs += p.Needs
		switch {
		case p.ID != c.ID || p.Size != c.Size || p.Size <= 0 || p.Format != disk.Raw && p.Format != disk.Qcow2:
			no(c.ID, fmt.Sprintf("%s of %d bytes, %q", p.ID, p.Size, p.Format), fmt.Sprintf("%s of %d bytes", c.ID, c.Size))
		case p.How == CopyFull && r.base(p) != "":
			no(c.ID+".file", r.base(p), "none: a copy goes to the machine's directory")
		case p.How == CopyIncremental:
			if have, want := p.vetBase(r.base(p)); have != "" {
				no(c.ID+".base", have, want)
			}
		case p.How != CopyFull:
			no(c.ID, string(p.How), "full or incremental")
		}
	}
	if free, err := host.Free(r.home()); err == nil && needs > 0 && free < uint64(needs) {
		no("disks.free", SizeText(free)+" free in "+r.home(), SizeText(uint64(needs)))
	}
	return bad
}

// baseOptions say how an image is to be read that is like the one that a disk is over: it
// may be the same in another format.
func (p *diskCopy) baseOptions(path string) disk.Options {
	if i, err := disk.Inspect(path, disk.Options{}); err == nil && i.Format == disk.Qcow2 {
		return disk.Options{Format: disk.Qcow2}
	}
	return disk.Options{Format: p.BaseFormat}
}

// vetBase compares an image with the one that a disk is over.
func (p *diskCopy) vetBase(path string) (have, want string) {
	o := p.baseOptions(path)
	i, err := disk.Inspect(path, o)
	if err != nil {
		return err.Error(), "a copy of " + p.Base
	}
	if i.Size != p.BaseSize {
		return fmt.Sprintf("%s of %d bytes", path, i.Size), fmt.Sprintf("a copy of %s, which has %d", p.Base, p.BaseSize)
	}
	sum, err := disk.Sum(context.Background(), path, o)
	if err != nil {
		return err.Error(), "a copy of " + p.Base
	}
	if string(sum[:]) != string(p.BaseSum) {
		return path + " with other content", "a copy of " + p.Base
	}
	return "", ""
}

// store is a disk that arrives: a new file in the machine's directory.
type store struct {
	disk.Image
	path, format string
}

// Write puts bytes.
func (s *store) Write(b []byte, off int64) error { return s.WriteAt(b, off) }

// Read copies what was put there.
func (s *store) Read(b []byte, off int64) error { return s.ReadAt(b, off) }

// Zero zeros a range.
func (s *store) Zero(off, n int64) error { return s.WriteZeroes(off, n, true) }

// Copies is how many disks are to be copied here.
func (b *builder) Copies(config []snapshot.Section) int {
	c, _ := copiesOf(config) // Check has told what is wrong with it
	return len(c)
}

// Stores are where they arrive.
func (b *builder) Stores() (out []migrate.Store) {
	for _, s := range b.in.stores {
		out = append(out, s)
	}
	return out
}

// place makes the files that disks arrive in.
func (in *incoming) place(copies []diskCopy) error {
	r := in.p.r
	for i := range copies {
		p := &copies[i]
		path, err := r.layerName(p.ID)
		if err != nil {
			return err
		}
		if p.Format == disk.Raw {
			path = path[:len(path)-len(filepath.Ext(path))] + ".raw"
		}
		o := disk.CreateOptions{Format: p.Format, Size: p.Size}
		if p.How == CopyIncremental {
			if o.Backing, err = filepath.Abs(r.base(p)); err != nil {
				return err
			}
			o.BackingFormat = p.baseOptions(o.Backing).Format
		}
		if err := disk.Create(path, o); err != nil {
			return err
		}
		s := &store{path: path, format: p.Format}
		in.stores = append(in.stores, s)
		if s.Image, err = disk.Open(path, disk.Options{Format: p.Format}); err != nil {
			return err
		}
	}
	return nil
}

// closeStores ends the writing to disks that arrived.
func (in *incoming) closeStores() error {
	var errs []error
	for _, s := range in.stores {
		if s.Image != nil {
			errs = append(errs, s.Close())
			s.Image = nil
		}
	}
	return errors.Join(errs...)
}

// discard removes what arrived of disks.
func (in *incoming) discard() {
	err := in.closeStores()
	for _, s := range in.stores {
		err = errors.Join(err, disk.Remove(s.path))
	}
	if in.stores = nil; err != nil {
		fmt.Fprintln(os.Stderr, "godwit: what arrived of disks:", err)
	}
}

// arriving has a disk be the one that arrives here.
func (in *incoming) arriving(c *machine.DiskConfig, number int) {
	s := in.stores[number]
	c.File, c.Format, c.Private, c.Overlay = s.path, s.format, false, ""
	c.Identity, c.Epoch, c.Base = "", 0, 0
}

// settled notes that the machine's directory, and the disks in it, have another name.
func (in *incoming) settled(m *machine.Machine) {
	in.p.r.in = nil // disks that it opens later are its own
	for i, s := range in.stores {
		path := in.p.r.file(filepath.Base(s.path))
		in.p.r.drives[i].Renamed(path)
		m.RenameDisk(i, path)
	}
}

// leaveDisks says what is left here of disks that were copied, on the machine
// goroutine. Private ones go.
func (r *Runner) leaveDisks() {
	for _, c := range r.m.Config().Disks {
		if c.Overlay == "" && !c.ReadOnly {
			r.Note(fmt.Sprintf("disk %s was copied; %s is left as it was then", c.ID, c.File), true)
		}
	}
	r.copied = true
}
