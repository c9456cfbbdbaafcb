package migrate

import (
	"crypto/sha256"
	"fmt"
)

// Disks that do not travel are at both sides: the same file, or the image below. A page
// that is a piece of such an image goes as a reference with its sha256. The destination
// reads the piece and compares; what it does not find so it refuses, and gets whole. So
// nothing depends on when who wrote what, or on what a host has in its caches.

// ImageGuest is a Guest that knows where on images of its disks pages may be found.
type ImageGuest interface {
	Guest
	// Where tells at which offset the image of a disk, by its place in the
	// configuration, has this page now. It may be wrong.
	Where(disk uint8, page *[PageSize]byte) (off int64, ok bool)
}

// ImageBuilder is a Builder that can read images of disks which do not travel. What it
// reads need not be what the source has there.
type ImageBuilder interface {
	Builder
	// Images has a bit for each disk of the configuration, by its place, whose image
	// can be read. Asked after Check.
	Images() uint64
	// ReadImage reads what a disk's image has at an offset. Called between Reserve and
	// Journal.
	ReadImage(disk uint8, b []byte, off int64) error
}

// maxImages is how many disks can be referred to.
const maxImages = 64

// imageRefSize is what a reference takes: the disk, the offset, the sha256.
const imageRefSize = 1 + 8 + DigestSize

// imagesOut is the images at the source.
type imagesOut struct {
	g       ImageGuest
	mask    uint64 // of those that the destination can read
	on      bool   // in this pass
	due     []sentRef
	refused bitmap // pages that go whole, and without what went before
	wrong   bitmap // of these, in this pass
	bad     int    // pages in wrong
}

// sentRef is a page that went as a reference: until the destination says that it has
// it, the pass must not forget it.
type sentRef struct {
	page uint32
	leaf [LeafSize]byte
}

// prepare learns what both sides can do.
func (o *imagesOut) prepare(g Guest, mask uint64, pages uint32) {
	if ig, ok := g.(ImageGuest); ok {
		o.g, o.mask = ig, mask
	}
	if o.refused == nil {
		o.refused = newBitmap(pages)
	}
}

// begin begins a pass, with references or without. What nobody has confirmed of the
// pass before is not taken to be there.
func (o *imagesOut) begin(on bool) {
	for _, r := range o.due {
		o.refused.set(r.page)
	}
	o.due, o.wrong, o.bad = o.due[:0], nil, 0
	o.on = on && o.mask != 0
}

// whole tells that a page must go whole.
func (o *imagesOut) whole(p uint32) bool { return o.refused != nil && o.refused.has(p) }

// ref finds a page on an image, and turns it into a reference.
func (o *imagesOut) ref(p uint32, page *[PageSize]byte) bool {
	if !o.on || o.whole(p) {
		return false
	}
	for disk := range uint8(maxImages) {
		if o.mask>>disk == 0 {
			break
		}
		if o.mask>>disk&1 == 0 {
			continue
		}
		if off, ok := o.g.Where(disk, page); ok {
			sum := sha256.Sum256(page[:])
			page[0] = disk
			le.PutUint64(page[1:], uint64(off))
			copy(page[9:], sum[:])
			return true
		}
	}
	return false
}

// refusedPages hears which pages the destination did not find.
func (s *Source) refusedPages(f *frame) error {
	o := &s.images
	if o.wrong == nil {
		o.wrong = newBitmap(s.pages)
	}
	err := eachListed(f.payload, 0, s.pages, func(p uint32, _ []byte) {
		if !o.wrong.has(p) {
			o.bad++
		}
		o.wrong.set(p)
		o.refused.set(p)
	})
	if err != nil {
		return &Error{Code: Protocol, Text: "frame REFUSED", Err: err}
	}
	return nil
}

// So many references of a pass, and this share of them, may be refused. With more, the
// images are not the same on both sides, or not soon enough.
const (
	someRefused = 16
	maxRefused  = 0.25
)

// confirmed goes on once it is known which references held: of those that did not, the
// pages are owed to the next pass.
func (s *Source) confirmed() {
	o := &s.images
	for _, r := range o.due {
		if o.bad == 0 || !o.wrong.has(r.page) {
			s.pager.pass.Sent(r.page, r.leaf)
		}
	}
	n := len(o.due)
	o.due = o.due[:0]
	s.report.Refused += uint64(o.bad)
	if o.mask != 0 && o.bad > someRefused && float64(o.bad) > maxRefused*float64(n) {
		o.mask = 0
		s.emit(Event{What: EventWarning, Reason: fmt.Sprintf(
			"the destination finds other bytes in the images of disks: %d of %d pages are sent after all, and no more refer to them", o.bad, n)})
	}
}

// imagesIn is the images at the destination.
type imagesIn struct {
	b       ImageBuilder
	mask    uint64
	refused bitmap // pages of this pass that are to come whole
}

// begin learns what the builder can do.
func (in *imagesIn) begin(b Builder) {
	if ib, ok := b.(ImageBuilder); ok {
		in.b, in.mask = ib, ib.Images()
	}
}

// piece reads the page that a reference stands for; false: it is not there.
func (in *imagesIn) piece(ref []byte, page *[PageSize]byte) bool {
	disk, off := ref[0], le.Uint64(ref[1:])
	if disk >= maxImages || in.mask>>disk&1 == 0 || off >= 1<<62 {
		return false
	}
	return in.b.ReadImage(disk, page[:], int64(off)) == nil && sha256.Sum256(page[:]) == [DigestSize]byte(ref[9:])
}

// sayRefused names the pages of this pass that are to come whole.
func (d *Dest) sayRefused() {
	in := &d.images
	d.report.Refused += uint64(in.refused.count())
	sayPages(d.ctl, frRefused, in.refused)
	clear(in.refused)
}
