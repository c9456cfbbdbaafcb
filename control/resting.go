package control

import (
	"fmt"
	"os"
	"path/filepath"

	"godwit/backend/disk"
	"godwit/snapshot/tree"
)

// With its first snapshot a disk goes on in a layer over the user's own image, which
// must stay as it is from then on, also when no process has it: somebody who begins
// another VM with it would spoil the snapshots, and not find what was written since.

// Resting fails where snapshots of a VM, or layers of its disks, rest on an image that is
// to be written for another.
func (h Home) Resting(what, image, except string) error {
	st, err := os.Stat(image)
	if err != nil {
		return nil //nolint:nilerr // whoever opens it tells
	}
	if locked, err := disk.Locked(image); err != nil || locked {
		return nil //nolint:nilerr // the same
	}
	for _, name := range h.Names() {
		if name == except {
			continue
		}
		if top := h.restsOn(name, st); top != "" {
			return Fail("busy", what, fmt.Sprintf("snapshots of %s rest on %s, and what it wrote last is in %s", name, image, top),
				"an overlay:  --disk "+image+",overlay;  or if they may go,  godwit rm "+name)
		}
	}
	return nil
}

// restsOn returns the file that a VM's disk goes on in which rests on an image; empty:
// none does. What cannot be read is no reason to keep others from their images.
func (h Home) restsOn(name string, image os.FileInfo) string {
	l, _, err := h.layers(name)
	if err != nil {
		return ""
	}
	if t, err := h.Snaps(name); err == nil {
		l.rest(t, t.Nodes())
	}
	l.below, l.over = map[string]DiskFile{}, map[string]int{}
	for _, f := range l.rests {
		_ = l.follow(f)
	}
	for _, f := range l.tops {
		_ = l.follow(f)
	}
	for file := range l.below {
		if !has(l.rests, file) && l.over[file] == 0 {
			continue
		}
		if st, err := os.Stat(file); err != nil || !os.SameFile(st, image) {
			continue
		}
		if len(l.tops) > 0 {
			return l.tops[0].File
		}
		return filepath.Join(h.Dir(name), dirSnaps)
	}
	return ""
}

// noteOutside notes which images outside a VM's directory snapshots' disks rest on.
func noteOutside(t *tree.Tree, dir string, disks []tree.Disk) error {
	for i := range disks {
		d := &disks[i]
		chain, err := disk.Chain(inTree(t, d.File), disk.Options{Format: d.Format, FS: diskFS})
		if err != nil {
			return err
		}
		d.Outside = nil
		for _, file := range chain {
			if at := filepath.Dir(file); at == dir || at == filepath.Join(dir, dirSnaps) {
				continue
			}
			o, err := disk.ReadOwner(file)
			if err != nil {
				return err
			}
			d.Outside = append(d.Outside, tree.Image{File: file, Owner: o.ID, Epoch: o.Epoch})
		}
	}
	return nil
}

// outside fails where an image that a snapshot's disks rest on was written since.
func outside(n tree.Node) error {
	for _, d := range n.Disks {
		for _, i := range d.Outside {
			o, err := disk.ReadOwner(i.File)
			if err != nil {
				return err
			}
			if o.ID != "" && (o.ID != i.Owner || o.Epoch != i.Epoch) {
				return Fail("incompatible", "cannot use snapshot "+n.Tag,
					fmt.Sprintf("disk %s rests on %s, which %s has written since", d.ID, i.File, o.Name), "another snapshot, or a copy of the image from then")
			}
		}
	}
	return nil
}
