package tree

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"godwit/snapshot"
)

// FlattenAt bounds how many files a snapshot is spread over: one that would need
// more is written complete.
const FlattenAt = 8

// Moment is what a snapshot is of.
type Moment struct {
	Meta     snapshot.Meta // Count, Created and CPUModel
	GuestNS  int64
	Sections []snapshot.Section
	Pages    snapshot.Pages
	Disks    []Disk // durable by now

	Base    *snapshot.File // machine that Changed counts from; nil: write all pages
	Changed func(p uint32) bool
}

// Take writes a snapshot under the head and makes it the head. The moment may be of a
// machine that runs on meanwhile, if its Pages stay as they were. On an error the
// tree is as it was, or the snapshot exists, whole.
func (t *Tree) Take(ctx context.Context, tag, message string, m Moment, o snapshot.Options) (Node, error) {
	if err := t.CheckTag(tag); err != nil {
		return Node{}, err
	}
	if len(message) > maxMessage {
		return Node{}, fmt.Errorf("the message is %d bytes, at most %d", len(message), maxMessage)
	}
	t.base(&m, &o)
	if m.Meta.UUID == (snapshot.UUID{}) {
		m.Meta.UUID = snapshot.NewUUID()
	}
	st, err := snapshot.Write(ctx, t.fs, t.Path(m.Meta.UUID), m.Meta, m.Sections, m.Pages, o)
	if err != nil {
		return Node{}, err
	}
	n := Node{
		ID: m.Meta.UUID, Parent: t.head, Tag: tag, Message: message,
		Created: m.Meta.Created, Count: m.Meta.Count, GuestNS: m.GuestNS,
		Root: hex.EncodeToString(st.Root[:]), Bytes: st.Bytes, Pages: st.Pages, Stored: st.Stored, Kept: st.Kept,
		Disks: m.Disks,
	}
	if err := t.publish(n); err != nil {
		if t.retract(n.ID) {
			_ = t.fs.Remove(t.Path(n.ID)) // else GC finds it
		}
		return Node{}, err
	}
	return n, t.SetHead(n.ID)
}

// base says which file a moment's is to build on, if any.
func (t *Tree) base(m *Moment, o *snapshot.Options) {
	o.Parent, o.Changed = nil, nil
	if t.CanBase(m.Base) {
		o.Parent, o.Changed = m.Base, m.Changed
	}
}

// CanBase tells whether what is taken next can leave to a machine what has not changed
// since. Else it reads all pages of its moment.
func (t *Tree) CanBase(f *snapshot.File) bool {
	return f != nil && f.Depth() < FlattenAt && t.index(f.Meta().UUID) >= 0
}

// Fits fails where the file system has no room for a moment, and so many bytes beside it
// that are not there yet, as copies of disks. Take looks again, but for the moment alone.
func (t *Tree) Fits(m Moment, o snapshot.Options, beside uint64) error {
	t.base(&m, &o)
	return snapshot.SaveFits(t.fs, t.Path(m.Meta.UUID), m.Sections, m.Pages, o, beside)
}

// retract removes a node that could not be published: it may be there though it is not
// sure to stay, and what GC knows nothing of GC takes. It tells whether the node is gone
// for good, so that what it had may go, too.
func (t *Tree) retract(id snapshot.UUID) bool {
	err := t.fs.Remove(filepath.Join(t.dir, id.String()+nodeExt))
	if err == nil {
		err = t.fs.SyncDir(t.dir)
	}
	return err == nil || errors.Is(err, fs.ErrNotExist)
}

// publish makes a node whose files are durable exist.
func (t *Tree) publish(n Node) error {
	if err := t.write(&n); err != nil {
		return err
	}
	t.nodes = append(t.nodes, n)
	t.sort()
	return nil
}
