package tree

import (
	"bytes"

	"godwit/snapshot"
)

// Diff is how two machines differ.
type Diff struct {
	Pages    uint32    `json:"pages"`    // that differ
	Runs     []PageRun `json:"runs"`     // of them, the first 64 stretches
	Sections []string  `json:"sections"` // that differ, or that one of them lacks
}

// PageRun is a stretch of pages, by arena page.
type PageRun struct {
	First uint32 `json:"first"`
	Count uint32 `json:"count"`
}

const maxRuns = 64

// Compare compares two machines by the hashes that their files carry, without
// reading pages.
func Compare(a, b *snapshot.File) (Diff, error) {
	sa, err := a.Sections()
	if err != nil {
		return Diff{}, err
	}
	sb, err := b.Sections()
	if err != nil {
		return Diff{}, err
	}
	d := Diff{Sections: differing(sa, sb)}
	most, common := max(a.Pages(), b.Pages()), min(a.Pages(), b.Pages())/snapshot.GroupPages
	for p := uint32(0); p < most; p++ {
		if p%snapshot.GroupPages == 0 && p/snapshot.GroupPages < common && a.SameGroup(b, p/snapshot.GroupPages) {
			p += snapshot.GroupPages - 1
			continue
		}
		la, err := leafAt(a, p)
		if err != nil {
			return d, err
		}
		lb, err := leafAt(b, p)
		if err != nil {
			return d, err
		}
		if la != lb {
			d.add(p)
		}
	}
	return d, nil
}

// add notes a page that differs; they ascend.
func (d *Diff) add(p uint32) {
	d.Pages++
	n := len(d.Runs)
	switch {
	case n > 0 && d.Runs[n-1].First+d.Runs[n-1].Count == p:
		d.Runs[n-1].Count++
	case n < maxRuns:
		d.Runs = append(d.Runs, PageRun{p, 1})
	}
}

// leafAt is a page's leaf; memory ends in zeros.
func leafAt(f *snapshot.File, p uint32) ([snapshot.LeafSize]byte, error) {
	if p >= f.Pages() {
		return snapshot.ZeroLeaf(), nil
	}
	return f.Leaf(p)
}

func differing(a, b []snapshot.Section) (out []string) {
	for i := range a {
		if o := snapshot.Find(b, a[i].Name, a[i].Instance); o == nil || o.Version != a[i].Version || !bytes.Equal(o.Data, a[i].Data) {
			out = append(out, a[i].ID())
		}
	}
	for i := range b {
		if snapshot.Find(a, b[i].Name, b[i].Instance) == nil {
			out = append(out, b[i].ID())
		}
	}
	return out
}
