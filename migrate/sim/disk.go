package sim

import (
	"bytes"
	"fmt"
	"math/bits"
	"time"

	"godwit/migrate"
	"godwit/snapshot"
)

// DiskProgram is what a guest does with its disks, which travel along: it writes 64
// bytes at a time, to a block at random, or zeros a block.
type DiskProgram struct {
	Disks  int
	Blocks int     // of each; the last is short
	Filled int     // blocks with content when it starts
	Rate   float64 // writes a second
}

func (p *DiskProgram) size() int64 { return int64(p.Blocks)*migrate.BlockSize - 512 }

// simDisk is a disk at the source.
type simDisk struct {
	b       []byte
	dirty   []uint64
	n       int
	tracked bool
	budget  int
	advance func()
}

// disks are a guest's.
type disks struct {
	prog  DiskProgram
	seed  uint64
	all   []*simDisk
	owed  float64
	count uint64        // writes
	held  time.Duration // that a budget held it up
}

func newDisks(p DiskProgram, seed uint64, advance func()) *disks {
	d := &disks{prog: p, seed: seed}
	for i := range p.Disks {
		x := &simDisk{b: make([]byte, p.size()), budget: -1, advance: advance}
		for n := range min(p.Filled, p.Blocks-1) {
			b := x.b[n*migrate.BlockSize:]
			scribble(b[:4096], seed+uint64(i*1000+n), "random")
			scribble(b[4096:][:4096], seed+17+uint64(n), "random") // as some pages of memory
		}
		d.all = append(d.all, x)
	}
	return d
}

// run writes for a time.
func (d *disks) run(t time.Duration) {
	if len(d.all) == 0 {
		return
	}
	for d.owed += t.Seconds() * d.prog.Rate; d.owed >= 1; d.owed-- {
		r := mix(d.seed ^ d.count)
		x, block := d.all[r%uint64(len(d.all))], (r>>8)%uint64(d.prog.Blocks)
		if !x.touch(uint32(block)) {
			d.held += time.Duration(d.owed / d.prog.Rate * 1e9)
			d.owed = 0 // held by the budget: the rest of the time is lost
			return
		}
		to := x.b[block*migrate.BlockSize:]
		if r>>32%8 == 0 {
			clear(to[:min(len(to), migrate.BlockSize)])
		} else {
			scribble(to[(r>>40%64)*64:][:64], r, "random")
		}
		d.count++
	}
}

func (x *simDisk) touch(block uint32) bool {
	w, bit := block>>6, uint64(1)<<(block&63)
	if !x.tracked || x.dirty[w]&bit != 0 {
		return true
	}
	if x.budget >= 0 && x.n >= x.budget {
		return false
	}
	x.dirty[w] |= bit
	x.n++
	return true
}

func (x *simDisk) blocks() int { return (len(x.b) + migrate.BlockSize - 1) / migrate.BlockSize }

// Size is the disk's.
func (x *simDisk) Size() int64 { return int64(len(x.b)) }

// Track begins.
func (x *simDisk) Track() ([]uint64, error) {
	x.advance()
	x.tracked, x.dirty, x.n = true, make([]uint64, (x.blocks()+63)/64), 0
	all := make([]uint64, len(x.dirty))
	for i := range x.blocks() {
		all[i>>6] |= 1 << (i & 63)
	}
	return all, nil
}

// Harvest takes what was written.
func (x *simDisk) Harvest() []uint64 {
	x.advance()
	d := x.dirty
	x.dirty, x.n = make([]uint64, len(d)), 0
	return d
}

// Dirty counts it.
func (x *simDisk) Dirty() (n int) {
	x.advance()
	for _, w := range x.dirty {
		n += bits.OnesCount64(w)
	}
	return n
}

// Clean tells whether a block was not written since.
func (x *simDisk) Clean(block uint32) bool {
	x.advance()
	return x.dirty[block>>6]>>(block&63)&1 == 0
}

// Read copies a block.
func (x *simDisk) Read(block uint32, b []byte) error {
	x.advance()
	copy(b, x.b[int64(block)*migrate.BlockSize:])
	return nil
}

// Budget bounds what is written.
func (x *simDisk) Budget(n int) {
	x.advance()
	x.budget = n
}

// Untrack ends it.
func (x *simDisk) Untrack() { x.tracked, x.dirty, x.n, x.budget = false, nil, 0, -1 }

// Disks are the guest's, if they travel.
func (g *Guest) Disks() (out []migrate.Disk) {
	for _, x := range g.disks.all {
		out = append(out, x)
	}
	return out
}

// store is where a disk arrives.
type store struct {
	b       []byte
	flushed bool
	fail    map[string]error // by operation
}

// Size is the disk's.
func (s *store) Size() int64 { return int64(len(s.b)) }

// Write puts bytes.
func (s *store) Write(b []byte, off int64) error {
	s.flushed = false
	copy(s.b[off:], b)
	return s.fail["write"]
}

// Read copies what was put there.
func (s *store) Read(b []byte, off int64) error {
	copy(b, s.b[off:])
	return nil
}

// Zero zeros a range.
func (s *store) Zero(off, n int64) error {
	s.flushed = false
	clear(s.b[off : off+n])
	return nil
}

// Flush makes it durable.
func (s *store) Flush() error {
	s.flushed = true
	return s.fail["flush"]
}

// Copies is how many disks are expected.
func (b *Builder) Copies([]snapshot.Section) int { return b.disks.Disks }

// Stores are where they arrive.
func (b *Builder) Stores() (out []migrate.Store) {
	b.stores = nil
	for range b.disks.Disks {
		s := &store{b: make([]byte, b.disks.size()), fail: b.Fail}
		b.stores = append(b.stores, s)
		out = append(out, s)
	}
	return out
}

// arrived compares the disks with those that the guest left behind.
func (b *Builder) arrived(g *Guest) error {
	for i, s := range b.stores {
		if !s.flushed {
			return fmt.Errorf("disk %d is not on stable storage when the guest starts", i)
		}
		if !bytes.Equal(s.b, g.disks.all[i].b) {
			return fmt.Errorf("disk %d differs from the one that the guest left", i)
		}
	}
	return nil
}
