package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"godwit/backend/disk"
	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// layerName is a file in the VM's directory for what its disk takes from now on.
func (r *Runner) layerName(id string) (string, error) {
	for n := 1; ; n++ {
		path := r.file(fmt.Sprintf("disk-%s-%d.qcow2", id, n))
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// prepareDisks makes the layers that disks are to go on in, while the guest runs: that
// waits for the host's disk several times. What is written so far need not be in the
// pause either.
func (r *Runner) prepareDisks(ctx context.Context) (layers []string, err error) {
	for i, d := range r.drives {
		path, err := r.layerName(r.m.Config().Disks[i].ID)
		if err == nil {
			err = d.Prepare(path)
		}
		if err == nil {
			err = d.Sync(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, r.unprepareDisks())
		}
		layers = append(layers, path)
	}
	return layers, nil
}

// unprepareDisks removes layers that were not used.
func (r *Runner) unprepareDisks() (err error) {
	for _, d := range r.drives {
		err = errors.Join(err, d.Unprepare())
	}
	return err
}

// freezeDisks has every disk that is written go on in its new layer, on the machine
// goroutine. What is there so far is the snapshot's.
func (r *Runner) freezeDisks(ctx context.Context, layers []string) ([]tree.Disk, error) {
	var out []tree.Disk
	for i, c := range r.m.Config().Disks {
		layer, format, err := r.m.FreezeDisk(ctx, i, layers[i])
		if err != nil {
			return nil, err
		}
		out = append(out, tree.Disk{ID: c.ID, Mode: disk.DeltaCOW, File: layer, Format: format, Size: c.Size})
	}
	return out, nil
}

// layDisks has the machine that is loaded next find its disks as they were in a
// snapshot: each in a new layer over the snapshot's.
func (r *Runner) layDisks(disks []tree.Disk) error {
	for _, d := range disks {
		path, err := r.layerName(d.ID)
		if err != nil {
			return err
		}
		o := disk.CreateOptions{Format: disk.Qcow2, Backing: r.snaps.path(d.File), BackingFormat: d.Format}
		if err := disk.Create(path, o); err != nil {
			return err
		}
		r.spec.DiskFiles = append([]DiskFile{{ID: d.ID, File: path, Format: disk.Qcow2}}, r.spec.DiskFiles...)
	}
	return nil
}

// path is where a file that a node names lies.
func (s *snaps) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return s.tree.File(file)
}

// keepDisks makes the copies of layers that a snapshot is to have of its own, in the
// tree's directory.
func (s *snaps) keepDisks(ctx context.Context, id snapshot.UUID, disks []tree.Disk, how string) error {
	for i := range disks {
		d := &disks[i]
		if how == disk.DeltaCOW || d.Mode != disk.DeltaCOW {
			continue
		}
		name := copyName(id, d.ID)
		format, err := disk.CopyLayer(ctx, s.tree.File(name), d.File, d.Format, how, nil)
		if errors.Is(err, disk.ErrUnsupported) && how == disk.DeltaReflink {
			return Fail("usage", "cannot share the blocks of disk "+d.ID, err.Error(), "--disk-delta cow")
		}
		if err != nil {
			return err
		}
		d.Mode, d.File, d.Format = how, name, format
	}
	return nil
}

// collectLayers removes layers of disks that neither a snapshot nor the machine
// rests on any more, and returns their names.
func (r *Runner) collectLayers() ([]string, error) {
	rests := []string{}
	for _, n := range r.snaps.tree.Nodes() {
		for _, d := range n.Disks {
			rests = append(rests, r.snaps.path(d.File))
		}
	}
	for _, c := range r.m.Config().Disks {
		rests = append(rests, c.File)
		if c.Overlay != "" {
			rests = append(rests, c.Overlay)
		}
	}
	need := map[string]bool{}
	for _, f := range rests {
		chain, err := disk.Chain(f, disk.Options{})
		if err != nil {
			return nil, err
		}
		for _, f := range chain {
			need[f] = true
		}
	}
	all, err := filepath.Glob(r.file("disk-*.qcow2"))
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, f := range all {
		if need[f] {
			continue
		}
		if err := disk.Remove(f); err != nil {
			return gone, err
		}
		gone = append(gone, filepath.Base(f))
	}
	return gone, nil
}

// tellDisks says where the content of disks is whose own files snapshots rest on now.
func (r *Runner) tellDisks() {
	for _, c := range r.m.Config().Disks {
		if filepath.Dir(c.File) != r.home() || r.copied {
			continue
		}
		if chain, err := disk.Chain(c.File, disk.Options{Format: c.Format}); err == nil && len(chain) == 1 { // it came by a migration
			r.Note(fmt.Sprintf("disk %s is %s, and goes with the VM's directory", c.ID, c.File), false)
		} else {
			r.Note(fmt.Sprintf("disk %s goes on in %s: snapshots rest on what is below", c.ID, c.File), false)
		}
	}
}

// forkDisks is what a fork has for a snapshot's disks. Layers in the other VM's
// directory may go at any time: of those the fork gets a copy.
func (h Home) forkDisks(vm string, from *tree.Tree, n tree.Node, to *tree.Tree) ([]tree.Disk, error) {
	disks := slices.Clone(n.Disks)
	for i := range disks {
		d := &disks[i]
		if !filepath.IsAbs(d.File) {
			continue // a copy that is the snapshot's own: it is shared
		}
		chain, err := disk.Chain(d.File, disk.Options{Format: d.Format})
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(chain, func(f string) bool { return filepath.Dir(f) == h.Dir(vm) }) {
			continue
		}
		name := copyName(n.ID, d.ID)
		format, err := disk.CopyLayer(context.Background(), to.File(name), d.File, d.Format, disk.DeltaFull, nil)
		if err != nil {
			return nil, err
		}
		d.File, d.Format, d.Mode = name, format, disk.DeltaFull
	}
	return disks, nil
}

// copyName is the name of a snapshot's own copy of a disk.
func copyName(id snapshot.UUID, disk string) string { return fmt.Sprintf("%s.%s.img", id, disk) }
