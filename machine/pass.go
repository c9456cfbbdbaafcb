package machine

import (
	"godwit/mem"
	"godwit/migrate"
	"godwit/snapshot"
)

// pass is memory at a harvest.
type pass struct {
	t           *tracking
	info        migrate.PassInfo
	dirty       []uint64
	epoch, base *mem.Epoch
}

func (p *pass) Info() migrate.PassInfo { return p.info }
func (p *pass) Dirty() []uint64        { return p.dirty }

func (p *pass) Present(n uint32) bool { return p.epoch.Present(n) }

func (p *pass) Read(n uint32, b *[mem.PageSize]byte) { p.epoch.Read(n, b) }

// Base knows only of pages that were sent: what was never written never was.
func (p *pass) Base(n uint32, b *[mem.PageSize]byte) bool {
	return p.base != nil && bit(p.t.sent, n) && p.base.Base(n, b)
}

func (p *pass) Sent(n uint32, leaf [snapshot.LeafSize]byte) {
	p.epoch.Sent(n)
	p.note(n, leaf)
}

func (p *pass) note(n uint32, leaf [snapshot.LeafSize]byte) {
	p.t.table.set(n, leaf)
	p.t.sent[n>>6] |= 1 << (n & 63)
	p.t.owed[n>>6] &^= 1 << (n & 63)
}

// final is memory at the stop. It is read where it lies, since the machine stands
// still.
type final struct {
	pass
	m    *Machine
	secs []snapshot.Section
	root [snapshot.DigestSize]byte
}

func (f *final) Present(n uint32) bool { return f.m.mem.Present(n) }

func (f *final) Read(n uint32, b *[mem.PageSize]byte) {
	copy(b[:], f.m.mem.Bytes()[uint64(n)<<mem.PageShift:])
}

func (f *final) Sent(n uint32, leaf [snapshot.LeafSize]byte) { f.note(n, leaf) }

func (f *final) Leaf(n uint32) [snapshot.LeafSize]byte {
	if !bit(f.t.table.known, n) {
		f.t.table.set(n, f.hash(n))
	}
	return f.t.table.leaf[n]
}

func (f *final) hash(n uint32) [snapshot.LeafSize]byte {
	return snapshot.LeafOf((*[mem.PageSize]byte)(f.m.mem.Bytes()[uint64(n)<<mem.PageShift:]))
}

func (f *final) Sections() []snapshot.Section    { return f.secs }
func (f *final) Root() [snapshot.DigestSize]byte { return f.root }
