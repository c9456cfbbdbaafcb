package tree

import (
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"godwit/snapshot"
)

// Export writes the machine of a snapshot into one file that needs no other.
func (t *Tree) Export(ctx context.Context, n Node, path string, o snapshot.Options) (snapshot.Stats, error) {
	f, err := t.Machine(n)
	if err != nil {
		return snapshot.Stats{}, err
	}
	defer f.Close()
	return f.Copy(ctx, t.fs, path, nil, o)
}

// Import adds a copy of the machine in a file as a root of the tree, every page
// checked. The head stays. about finds the machine's guest time in its sections, and
// makes copies of its disks in the tree's directory, if any are to go with it.
func (t *Tree) Import(ctx context.Context, path, tag, message string, about func(snapshot.UUID, []snapshot.Section) (int64, []Disk, error), o snapshot.Options) (Node, error) {
	if err := t.CheckTag(tag); err != nil {
		return Node{}, err
	}
	f, err := snapshot.Open(t.fs, path)
	if err != nil {
		return Node{}, err
	}
	defer f.Close()
	if n, ok := t.Node(f.Meta().UUID); ok {
		return Node{}, fmt.Errorf("%s is here already, as %q", path, n.Tag)
	}
	guestNS, disks, err := about(f.Meta().UUID, f.Small())
	if err != nil {
		return Node{}, err
	}
	st, err := f.Copy(ctx, t.fs, t.Path(f.Meta().UUID), nil, o)
	if err != nil {
		return Node{}, err
	}
	n := Node{
		ID: f.Meta().UUID, Tag: tag, Message: message,
		Created: f.Meta().Created, Count: f.Meta().Count, GuestNS: guestNS,
		Root: hex.EncodeToString(st.Root[:]), Bytes: st.Bytes, Pages: st.Pages, Stored: st.Stored, Disks: disks,
	}
	if err := t.publish(n); err != nil {
		t.retract(n.ID) // its machine may be part of another one here: GC knows
		return Node{}, err
	}
	return n, nil
}

// Fork makes a snapshot the root and head of another VM's empty tree, sharing its
// files: nobody ever changes them in place. disks is what the fork is to have for the
// snapshot's disks; they are in place.
func (t *Tree) Fork(n Node, to *Tree, disks []Disk) error {
	f, err := t.Machine(n)
	if err != nil {
		return err
	}
	defer f.Close()
	var names []string
	for p := f; p != nil; p = p.Parent() {
		names = append(names, p.Meta().UUID.FileName())
	}
	for i, d := range n.Disks {
		if !filepath.IsAbs(d.File) && disks[i].File == d.File && disks[i].Mode == d.Mode {
			names = append(names, d.File)
		}
	}
	for _, name := range names {
		if err := t.fs.Link(filepath.Join(t.dir, name), filepath.Join(to.dir, name)); err != nil {
			return err
		}
	}
	if err := t.fs.SyncDir(to.dir); err != nil {
		return err
	}
	n.Parent, n.Disks = snapshot.UUID{}, disks
	if err := to.publish(n); err != nil {
		return err
	}
	return to.SetHead(n.ID)
}
