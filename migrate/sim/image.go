package sim

import (
	"errors"
	"time"

	"godwit/migrate"
)

// ImageProgram is a disk's image that both sides have, with what the guest's first pages
// hold, and what the guest writes to it.
type ImageProgram struct {
	Pieces int     // pages of memory that lie on it; 0: there is no image
	Rate   float64 // pieces overwritten a second
	Stale  bool    // the destination does not see what is written
	Flip   int     // a byte that the destination has otherwise; 0: none
}

// imageHead is where the first piece lies: not at a multiple of their size.
const imageHead = 512

// image is the image, as both sides have it.
type image struct {
	prog ImageProgram
	here []byte
	dest []byte // the same bytes, or others
	at   map[[pageSize]byte]int64
	owed float64
	n    uint64 // writes
}

func newImage(p ImageProgram, m *machine) *image {
	if p.Pieces == 0 {
		return nil
	}
	x := &image{prog: p, here: make([]byte, imageHead+p.Pieces*pageSize), at: map[[pageSize]byte]int64{}}
	for i := range p.Pieces {
		off := imageHead + i*pageSize
		if b := m.mem[i]; b != nil {
			copy(x.here[off:], b)
			x.at[[pageSize]byte(b)] = int64(off)
		}
	}
	if x.dest = x.here; p.Stale || p.Flip != 0 {
		x.dest = append([]byte(nil), x.here...)
	}
	if p.Flip != 0 {
		x.dest[p.Flip] ^= 1
	}
	return x
}

// run writes for a time.
func (x *image) run(t time.Duration) {
	if x == nil {
		return
	}
	for x.owed += t.Seconds() * x.prog.Rate; x.owed >= 1; x.owed-- {
		off := imageHead + mix(x.n)%uint64(x.prog.Pieces)*pageSize
		scribble(x.here[off+64:][:64], x.n, "random")
		x.n++
	}
}

// haveImage gives both sides an image.
func haveImage(p ImageProgram, g *Guest, b *Builder) {
	x := newImage(p, g.m)
	g.image, b.image = x, x
}

// Where finds a page on the image.
func (g *Guest) Where(_ uint8, page *[pageSize]byte) (int64, bool) {
	g.advance()
	off, ok := g.image.at[*page]
	return off, ok && [pageSize]byte(g.image.here[off:]) == *page
}

// Images tells of the one there is.
func (b *Builder) Images() uint64 {
	if b.image == nil {
		return 0
	}
	return 1
}

// ReadImage reads it.
func (b *Builder) ReadImage(_ uint8, to []byte, off int64) error {
	if err := b.Fail["image"]; err != nil {
		return err
	}
	if off+int64(len(to)) > int64(len(b.image.dest)) {
		return errors.New("beyond the image")
	}
	copy(to, b.image.dest[off:])
	return nil
}

var (
	_ migrate.ImageGuest   = (*Guest)(nil)
	_ migrate.ImageBuilder = (*Builder)(nil)
)
