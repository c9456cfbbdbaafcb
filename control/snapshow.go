package control

import (
	"fmt"
	"io"
	"time"

	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// WriteTree draws a VM's snapshots.
func WriteTree(w io.Writer, t *tree.Tree) {
	roots := t.Children(snapshot.UUID{})
	if len(roots) == 0 {
		fmt.Fprintln(w, "no snapshots.  godwit snap take")
		return
	}
	width := 3
	for _, n := range t.Nodes() {
		width = max(width, len(n.Tag))
	}
	for _, n := range roots {
		(&drawing{w, t, width}).node(n, "", "")
	}
}

type drawing struct {
	w     io.Writer
	t     *tree.Tree
	width int // of tags
}

// node draws a snapshot and what descends from it. An only child stands under its
// parent, so that a long history is a column and not a staircase.
func (d *drawing) node(n tree.Node, branch, indent string) {
	mark, here := "○", ""
	if n.ID == d.t.Head() {
		mark, here = "●", "   ← you are here"
	}
	size := bytesSent(n.Bytes)
	if n.Kept > 0 {
		size = "+" + size
	}
	note := here
	if n.Message != "" {
		note = fmt.Sprintf("   %q%s", n.Message, here)
	}
	fmt.Fprintf(d.w, "%s%s %-*s  %9.1f s  %9s%s\n", branch, mark, d.width, n.Tag, float64(n.GuestNS)/1e9, size, note)
	children := d.t.Children(n.ID)
	for i, c := range children {
		switch {
		case len(children) == 1:
			d.node(c, indent, indent)
		case i < len(children)-1:
			d.node(c, indent+"├─", indent+"│ ")
		default:
			d.node(c, indent+"└─", indent+"  ")
		}
	}
}

// SnapView is what there is to know of one snapshot.
type SnapView struct {
	tree.Node
	Depth int    `json:"depth"` // files its machine is spread over
	File  string `json:"file"`
}

// Show tells of a snapshot.
func (v *SnapView) Show(w io.Writer) {
	fmt.Fprintf(w, "%s  %s\n", v.Tag, v.ID)
	if v.Message != "" {
		fmt.Fprintf(w, "message  %s\n", v.Message)
	}
	fmt.Fprintf(w, "taken    %s, at #%d, %.3f s of guest time\n", time.Unix(0, v.Created).Format(time.DateTime), v.Count, float64(v.GuestNS)/1e9)
	fmt.Fprintf(w, "memory   %d pages: %d written, %d left to the parent, %d zero; %d bytes\n",
		v.Pages, v.Stored, v.Kept, v.Pages-v.Stored-v.Kept, v.Bytes)
	fmt.Fprintf(w, "hash     %s\n", v.Root)
	fmt.Fprintf(w, "file     %s, spread over %d\n", v.File, v.Depth)
	for _, d := range v.Disks {
		fmt.Fprintf(w, "disk     %s, %d bytes, %s: %s\n", d.ID, d.Size, d.Mode, d.File)
	}
}

// ShowSnap looks at a snapshot, every byte of its index checked.
func ShowSnap(t *tree.Tree, n tree.Node) (*SnapView, error) {
	f, err := t.Machine(n)
	if err != nil {
		return nil, AsError(fmt.Sprintf("cannot open snapshot %q", n.Tag), err)
	}
	defer f.Close()
	return &SnapView{Node: n, Depth: f.Depth(), File: t.Path(n.ID)}, nil
}

// DiffSnaps compares two snapshots.
func DiffSnaps(t *tree.Tree, a, b tree.Node) (d tree.Diff, err error) {
	fa, err := t.Machine(a)
	if err != nil {
		return d, AsError(fmt.Sprintf("cannot open snapshot %q", a.Tag), err)
	}
	defer fa.Close()
	fb, err := t.Machine(b)
	if err != nil {
		return d, AsError(fmt.Sprintf("cannot open snapshot %q", b.Tag), err)
	}
	defer fb.Close()
	d, err = tree.Compare(fa, fb)
	return d, AsNil(err, "cannot compare")
}

// Show tells what a snapshot took.
func (s *SnapResult) Show(w io.Writer, vm string) {
	fmt.Fprintf(w, "%s  %s at #%d: %d pages written, %d left to the parent, %d zero, %s; the guest stood still for %.1f ms, %.2f s in all\n",
		vm, s.Tag, s.Count, s.Stored, s.Kept, s.Zero, bytesSent(s.Bytes), float64(s.PauseNS)/1e6, float64(s.TookNS)/1e9)
}
