package control

import (
	"errors"

	"godwit/backend/disk"
	"godwit/machine"
	"godwit/snapshot"
)

// images is the disks' images that a host where a machine arrives can read while they
// belong to the other side: pages of memory that lie on them need not travel.
type images struct {
	of   []readFrom
	open []disk.Image // opened when they are first needed; nil: not yet, or it failed
	bad  []bool       // it failed
}

// readFrom is where a disk's image is.
type readFrom struct {
	path string // empty: nothing is to be read
	o    disk.Options
	ro   bool
}

// find learns where images are; what is wrong with them has been told by then.
func (x *images) find(r *Runner, cfg *machine.Config, secs []snapshot.Section) {
	x.close()
	*x = images{}
	copies, err := copiesOf(secs)
	if err != nil {
		return
	}
	for i, c := range cfg.Disks {
		var f readFrom
		switch {
		case len(copies) == 0:
			if r.elsewhere(&c) == nil {
				f = readFrom{c.File, disk.Options{Format: c.Format}, c.ReadOnly || c.Overlay != ""}
			}
		case i < len(copies) && copies[i].How == CopyIncremental:
			p := &copies[i]
			f = readFrom{r.base(p), p.baseOptions(r.base(p)), true}
		}
		x.of = append(x.of, f)
	}
	x.open, x.bad = make([]disk.Image, len(x.of)), make([]bool, len(x.of))
}

// Images has a bit for each disk whose image can be read.
func (b *builder) Images() (mask uint64) {
	for i := range min(len(b.images.of), 64) {
		if b.images.get(i) != nil {
			mask |= 1 << i
		}
	}
	b.images.close() // until the machine is reserved: nobody may come
	return mask
}

// ReadImage reads what a disk's image has now. It is remembered: the machine may move on.
func (b *builder) ReadImage(disk uint8, p []byte, off int64) error {
	img := b.images.get(int(disk))
	if img == nil {
		return errors.New("the image cannot be read")
	}
	err := img.ReadAt(p, off)
	if err == nil {
		b.in.p.r.drives[disk].Note(p, off)
	}
	return err
}

// get opens an image, once.
func (x *images) get(i int) disk.Image {
	if f := x.of[i]; x.open[i] == nil && !x.bad[i] && f.path != "" {
		f.o.FS = diskFS
		img, err := disk.Readable(f.path, f.o, f.ro)
		x.open[i], x.bad[i] = img, err != nil || img == nil
	}
	return x.open[i]
}

// close closes them: nothing was written.
func (x *images) close() {
	for i, img := range x.open {
		if img != nil {
			_ = img.Close()
		}
		x.open[i], x.bad[i] = nil, false
	}
}
