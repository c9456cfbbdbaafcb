package tree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"godwit/snapshot"
)

// Remove removes one snapshot. What descends from it then descends from its parent,
// and takes over what only it held. At every moment all other snapshots are whole.
func (t *Tree) Remove(ctx context.Context, id snapshot.UUID, o snapshot.Options) error {
	i := t.index(id)
	if i < 0 {
		return fmt.Errorf("no snapshot has id %s", id)
	}
	if err := t.absorb(ctx, id, o); err != nil {
		return err
	}
	n := t.nodes[i]
	for k := range t.nodes {
		if t.nodes[k].Parent != id {
			continue
		}
		child := t.nodes[k]
		child.Parent = n.Parent
		if err := t.write(&child); err != nil {
			return err
		}
		t.nodes[k] = child
	}
	if t.head == id {
		if err := t.SetHead(n.Parent); err != nil {
			return err
		}
	}
	if err := t.fs.Remove(filepath.Join(t.dir, id.String()+nodeExt)); err != nil {
		return err
	}
	t.nodes = slices.Delete(t.nodes, i, i+1)
	if err := t.fs.SyncDir(t.dir); err != nil { // the node goes before its files
		return err
	}
	_, err := t.GC(ctx)
	return err
}

// absorb has the files that build on a snapshot's take over what they need of it.
func (t *Tree) absorb(ctx context.Context, id snapshot.UUID, o snapshot.Options) error {
	for _, n := range t.nodes {
		if n.ID == id {
			continue
		}
		f, err := snapshot.Open(t.fs, t.Path(n.ID))
		if err != nil {
			return err
		}
		builds := f.Parent() != nil && f.Parent().Meta().UUID == id
		if err := f.Close(); err != nil {
			return err
		}
		if !builds {
			continue
		}
		if err := snapshot.Absorb(ctx, t.fs, t.Path(n.ID), o); err != nil {
			return err
		}
	}
	return nil
}

// RemoveTree removes a snapshot and all that descends from it, the youngest first.
func (t *Tree) RemoveTree(ctx context.Context, id snapshot.UUID, o snapshot.Options) error {
	for _, n := range t.Children(id) {
		if err := t.RemoveTree(ctx, n.ID, o); err != nil {
			return err
		}
	}
	return t.Remove(ctx, id, o)
}

// GC removes the files in the tree's directory that no snapshot needs, and returns
// their names: what interrupted operations left over.
func (t *Tree) GC(ctx context.Context) ([]string, error) {
	need, err := t.needed()
	if err != nil {
		return nil, err
	}
	names, err := t.fs.List(t.dir)
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, name := range names {
		if need[name] {
			continue
		}
		if err := errors.Join(ctx.Err(), t.fs.Remove(filepath.Join(t.dir, name))); err != nil {
			return gone, err
		}
		gone = append(gone, name)
	}
	if len(gone) == 0 {
		return nil, nil
	}
	return gone, t.fs.SyncDir(t.dir)
}

// needed is the names of all files that nodes rest on.
func (t *Tree) needed() (map[string]bool, error) {
	need := map[string]bool{headFile: true}
	for _, n := range t.nodes {
		need[n.ID.String()+nodeExt] = true
		f, err := t.Machine(n)
		if err != nil {
			return nil, err
		}
		for p := f; p != nil; p = p.Parent() {
			need[p.Meta().UUID.FileName()] = true
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		for _, d := range n.Disks {
			need[d.File] = true
		}
	}
	if t.held == nil {
		return need, nil
	}
	held, err := t.held(t.Nodes())
	for _, name := range held {
		need[name] = true
	}
	return need, err
}
