package snapshot

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// An incremental snapshot holds the pages that changed since its parent. The
// rest it names with their leaves, one by one or as whole groups, so that its
// root covers all of memory and a parent can be exchanged for nothing else.

// Ext ends the name of a snapshot's file.
const Ext = ".gwsnap"

// MaxDepth bounds how many files one snapshot may be spread over.
const MaxDepth = 64

// FileName is the name under which a snapshot's children look for it, in their
// own directory.
func (u UUID) FileName() string { return u.String() + Ext }

// openParent opens what f builds on, beside path.
func (f *File) openParent(l Layer, path string, depth int) error {
	u := f.meta.Parent
	if depth == MaxDepth {
		return &NeedsParent{u, fmt.Errorf("the chain has more than %d files", MaxDepth)}
	}
	parent, err := open(l, filepath.Join(filepath.Dir(path), u.FileName()), depth+1)
	if err != nil {
		return &NeedsParent{u, err}
	}
	if err := f.adopt(parent); err != nil {
		return errors.Join(err, parent.Close())
	}
	return nil
}

// adopt makes parent the file's parent, if it is.
func (f *File) adopt(parent *File) error {
	if parent.meta.UUID != f.meta.Parent {
		return &NeedsParent{f.meta.Parent, fmt.Errorf("what is in its place is %s", parent.meta.UUID)}
	}
	if parent.meta.Pages != f.meta.Pages {
		return &NeedsParent{f.meta.Parent, fmt.Errorf("it has %d pages, not %d", parent.meta.Pages, f.meta.Pages)}
	}
	for i := range f.x.groups {
		r := &f.x.groups[i]
		if !r.inherited() {
			continue
		}
		if p := parent.x.group(r.group); p == nil || p.digest != r.digest {
			return altered(groupName(r.group, f.meta.Pages), errors.New("the parent holds another"))
		}
	}
	for i := range f.x.sections {
		e := &f.x.sections[i]
		if !e.inherited() {
			continue
		}
		if p := parent.x.section(e); p == nil || p.size != e.size || p.sha != e.sha {
			return altered("section "+e.ID(), errors.New("the parent holds another"))
		}
	}
	f.parent = parent
	return nil
}

// section finds the section of another's name; nil: there is none.
func (x *index) section(o *sectionEntry) *sectionEntry {
	for i := range x.sections {
		if e := &x.sections[i]; e.Name == o.Name && e.Instance == o.Instance {
			return e
		}
	}
	return nil
}

// inherit fills in a section's data from the parent.
func (f *File) inherit(e *sectionEntry) error {
	p := f.parent
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.x.section(e)
	if o.Data == nil {
		if err := p.readSection(o); err != nil {
			return err
		}
	}
	e.Data = o.Data
	return nil
}

// orphaned is the error for a file whose parent was not given.
func (f *File) orphaned() error {
	if f.meta.Parent == (UUID{}) || f.parent != nil {
		return nil
	}
	return &NeedsParent{f.meta.Parent, errors.New("it was not given")}
}

// group finds a group's reference; nil: it is all zero.
func (x *index) group(g uint32) *groupRef {
	i, ok := slices.BinarySearchFunc(x.groups, g, func(r groupRef, g uint32) int {
		return int(int64(r.group) - int64(g))
	})
	if !ok {
		return nil
	}
	return &x.groups[i]
}

func groupName(g, pages uint32) string {
	first := uint64(g) * GroupPages
	return fmt.Sprintf("index of pages %d to %d", first, first+uint64(groupSize(g, pages))-1)
}

// Parent is the snapshot that this one builds on, or nil.
func (f *File) Parent() *File { return f.parent }

// Depth is how many files the snapshot is spread over.
func (f *File) Depth() int {
	n := 1
	for p := f.parent; p != nil; p = p.parent {
		n++
	}
	return n
}

// SameGroup tells that a group is the same in two files, without reading its pages.
func (f *File) SameGroup(o *File, g uint32) bool {
	a, b := f.x.group(g), o.x.group(g)
	if a == nil || b == nil {
		return a == b && groupSize(g, f.meta.Pages) == groupSize(g, o.meta.Pages)
	}
	return a.digest == b.digest
}

// Holder is the file of the chain that holds the content of page p; nil for a
// page that is zero.
func (f *File) Holder(p uint32) (*File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, err := f.refOf(p)
	if err != nil || r == nil {
		return nil, err
	}
	if r.inherited() {
		return f.parent.Holder(p)
	}
	k, err := f.blockOf(r)
	if err != nil {
		return nil, err
	}
	switch e := k.find(uint16(p % GroupPages)); {
	case e == nil:
		return nil, nil
	case e.kind == pageInherited:
		return f.parent.Holder(p)
	}
	return f, nil
}

// MayHold has a bit for each page that may be other than zero: all of the groups
// that are not. It is known from what Open read.
func (f *File) MayHold() []uint64 {
	bits := make([]uint64, (uint64(f.meta.Pages)+63)/64)
	for i := range f.x.groups {
		g := f.x.groups[i].group
		first := g * GroupPages
		for p := first; p < first+uint32(groupSize(g, f.meta.Pages)); p++ {
			bits[p>>6] |= 1 << (p & 63)
		}
	}
	return bits
}

// GroupDigest is the digest of a group of pages.
func (f *File) GroupDigest(g uint32) [DigestSize]byte {
	if r := f.x.group(g); r != nil {
		return r.digest
	}
	return zeroGroupOf(g, f.meta.Pages)
}

// ReadNear reads and checks page p, and those that come with it for the same work.
// do is called for p first.
func (f *File) ReadNear(p uint32, do func(p uint32, b *[PageSize]byte)) error {
	var b [PageSize]byte
	if err := f.ReadPage(p, &b); err != nil {
		return err
	}
	do(p, &b)
	near, err := f.near(p)
	if err != nil {
		return err
	}
	for _, q := range near {
		if err := f.ReadPage(q, &b); err != nil {
			return nil // it will be named when it is needed itself
		}
		do(q, &b)
	}
	return nil
}

// near lists the other pages of p's chunk.
func (f *File) near(p uint32) ([]uint32, error) {
	h, err := f.Holder(p)
	if err != nil || h == nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k, err := h.blockOf(h.x.group(p / GroupPages))
	if err != nil {
		return nil, err
	}
	e := k.find(uint16(p % GroupPages))
	var near []uint32
	for i := range k.pages {
		o := &k.pages[i]
		if q := k.group*GroupPages + uint32(o.page); o.kind == pageStored && o.chunk == e.chunk && q != p {
			near = append(near, q)
		}
	}
	return near, nil
}
