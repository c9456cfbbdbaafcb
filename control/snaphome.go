package control

import (
	"fmt"
	"os"
	"path/filepath"

	"godwit/internal/host"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// Fork says which snapshot of another VM a new one begins with.
type Fork struct {
	VM string        `json:"vm"`
	ID snapshot.UUID `json:"id"`
}

// alone holds the lock of a VM that has no process.
func (h Home) alone(name string) (unlock func(), err error) {
	f, ok, err := host.Lock(h.file(name, fileLock))
	if err != nil {
		return nil, AsError("cannot lock "+name, err)
	}
	if !ok {
		return nil, Fail("state", fmt.Sprintf("%q is running", name), "", "again in a moment")
	}
	return func() { f.Close() }, nil
}

// Snap finds a snapshot of a VM, by its tag or the beginning of its id.
func (h Home) Snap(name, tag string) (*tree.Tree, tree.Node, error) {
	t, err := h.Snaps(name)
	if err != nil {
		return nil, tree.Node{}, err
	}
	n, err := findSnap(t, name, tag)
	return t, n, err
}

// ToRestore fills in how a VM without a process goes on from a snapshot of its own.
func (h Home) ToRestore(s *Spec, name, tag string, force bool) error {
	t, n, err := h.Snap(name, tag)
	if err != nil {
		return err
	}
	end, err := h.end(name)
	if err == nil && end.State == StateSuspended && !force {
		return Fail("state", fmt.Sprintf("%q is suspended", name), "to restore a snapshot throws away where it stands",
			"godwit resume "+name+", or  godwit snap restore --force "+tag)
	}
	s.Name, s.Resume, s.Source = name, t.Path(n.ID), end.Source
	if s.Source == "" {
		s.Source = name
	}
	return nil
}

// ToFork fills in how a new VM begins with a snapshot of another.
func (h Home) ToFork(s *Spec, name, tag string) error {
	_, n, err := h.Snap(name, tag)
	if err != nil {
		return err
	}
	s.Fork, s.Source = &Fork{VM: name, ID: n.ID}, name+"@"+n.Tag
	return nil
}

// own tells whether a file is a snapshot of the VM itself.
func (h Home) own(name, path string) bool {
	return filepath.Dir(path) == filepath.Join(h.Dir(name), dirSnaps)
}

// fork gives the new VM a tree of its own that begins with the snapshot.
func (p *process) fork() error {
	f := p.spec.Fork
	from, err := p.home.Snaps(f.VM)
	if err != nil {
		return err
	}
	n, ok := from.Node(f.ID)
	if !ok {
		return Fail("not-found", fmt.Sprintf("%q has no snapshot %s any more", f.VM, f.ID), "", "godwit snap tree "+f.VM)
	}
	if err := outside(n); err != nil {
		return err
	}
	to, err := openTree(p.home.Dir(p.name))
	if err != nil {
		return err
	}
	disks, err := p.home.forkDisks(f.VM, from, n, to)
	if err != nil {
		return err
	}
	if err := from.Fork(n, to, disks); err != nil {
		return err
	}
	p.spec.Resume = to.Path(n.ID)
	return nil
}

// layDisks has the machine of a snapshot find its disks as they were then.
func (p *process) layDisks(id snapshot.UUID) error {
	s, err := p.r.kept()
	if err != nil {
		return err
	}
	n, ok := s.tree.Node(id)
	if !ok {
		return Fail("not-found", "no snapshot has id "+id.String(), "", "godwit snap tree "+p.name)
	}
	if err := outside(n); err != nil {
		return err
	}
	return p.r.layDisks(n.Disks)
}

// rests makes the snapshot that the VM was started from the one that changes are
// counted from.
func (p *process) rests(m *machine.Machine, f *snapshot.File) error {
	s, err := p.r.kept()
	if err != nil {
		return err
	}
	s.rest(f, m)
	if err := s.tree.SetHead(f.Meta().UUID); err != nil {
		return err
	}
	return p.r.noteTops(m)
}

// hasSnaps tells whether a VM has snapshots.
func (h Home) hasSnaps(name string) bool {
	names, err := os.ReadDir(filepath.Join(h.Dir(name), dirSnaps))
	return err == nil && len(names) > 0
}
