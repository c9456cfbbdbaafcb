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
	"godwit/machine"
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
	// Before one is used: they are over what is used now, but that may stay as well.
	if err := r.noteTops(r.m, prepared(layers)...); err != nil {
		return nil, errors.Join(err, r.unprepareDisks())
	}
	return layers, nil
}

func prepared(layers []string) (files []DiskFile) {
	for _, l := range layers {
		files = append(files, DiskFile{File: l, Format: disk.Qcow2})
	}
	return files
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
		o := disk.CreateOptions{Format: disk.Qcow2, Backing: inTree(r.snaps.tree, d.File), BackingFormat: d.Format, FS: diskFS}
		if err := disk.Create(path, o); err != nil {
			return err
		}
		r.spec.DiskFiles = append([]DiskFile{{ID: d.ID, File: path, Format: disk.Qcow2}}, r.spec.DiskFiles...)
	}
	return nil
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
		format, err := disk.CopyLayer(ctx, s.tree.File(name), d.File, how, disk.Options{Format: d.Format, FS: diskFS}, nil)
		if err != nil {
			return err
		}
		d.Mode, d.File, d.Format = how, name, format
	}
	return nil
}

// tops is the files that disks of a machine are written to.
func tops(disks []machine.DiskConfig) (files []DiskFile) {
	for _, c := range disks {
		f := DiskFile{ID: c.ID, File: c.File, Format: c.Format}
		if c.Overlay != "" {
			f.File, f.Format = c.Overlay, disk.Qcow2
		}
		files = append(files, f)
	}
	return files
}

// noteTops notes where the disks are, or may be in a moment.
func (r *Runner) noteTops(m *machine.Machine, more ...DiskFile) error {
	files := append(tops(m.Config().Disks), more...)
	if len(files) == 0 {
		return nil
	}
	return writeTops(r.home(), files)
}

// renoteTops does that where something was noted before.
func (r *Runner) renoteTops(m *machine.Machine) error {
	if _, err := os.Lstat(r.file(fileDisks)); err != nil {
		return nil //nolint:nilerr // there is nothing to be put right
	}
	return r.noteTops(m)
}

// settleTops notes where the disks are once that is decided. What was noted before says
// more, and does if this fails.
func (r *Runner) settleTops() {
	var files []DiskFile
	err := r.onMachine(func() error { files = tops(r.m.Config().Disks); return nil })
	if err == nil && len(files) > 0 {
		_ = writeTops(r.home(), files) // not on the machine's goroutine: it waits for the host's disk
	}
}

// deep tells whether a disk is spread over more files than it should be.
func (r *Runner) deep() bool {
	for _, f := range tops(r.m.Config().Disks) {
		if chain, err := disk.Chain(f.File, disk.Options{Format: f.Format, FS: diskFS}); err == nil && len(chain) > maxLayers {
			return true
		}
	}
	return false
}

// unmerged says why layers of disks were not merged after something else was done.
func (r *Runner) unmerged(left string, err error) {
	if err != nil {
		left = err.Error()
	}
	if left != "" {
		r.Note("a disk is spread over many files: "+left, false)
	}
}

// tidyDisks merges and removes layers of a VM that has a process, while its guest runs.
func (r *Runner) tidyDisks(ctx context.Context) (gone []string, left string, err error) {
	l, err := r.layers()
	if err != nil {
		return nil, "", err
	}
	l.rest(r.snaps.tree, r.snaps.tree.Nodes())
	return l.tidy(ctx)
}

// layers is what the disks are in, without what snapshots rest on.
func (r *Runner) layers() (*layers, error) {
	l := &layers{dir: r.home(), vm: r.Status().Name}
	return l, r.onMachine(func() error {
		l.tops, l.drives = tops(r.m.Config().Disks), slices.Clone(r.drives)
		return nil
	})
}

// tidyDisks is that for a VM without a process, whose lock the caller holds.
func (h Home) tidyDisks(ctx context.Context, name string, t *tree.Tree) (gone []string, left string, err error) {
	l, ok, err := h.layers(name)
	if err != nil || !ok { // what is there nobody knows about
		return nil, "", err
	}
	l.rest(t, t.Nodes())
	return l.tidy(ctx)
}

// layers is that for a VM without a process. It is not ok where nothing was ever noted.
func (h Home) layers(name string) (l *layers, ok bool, err error) {
	l = &layers{dir: h.Dir(name), vm: name}
	if l.tops, ok, err = readTops(l.dir); err != nil {
		return nil, false, err
	}
	if end, err := h.end(name); err == nil && end.State == StateSuspended {
		more, err := disksIn(end.End.File)
		if err != nil {
			return nil, false, err
		}
		l.tops = append(l.tops, more...)
	}
	return l, ok, nil
}

// disksIn is the files that disks of a suspended machine are in.
func disksIn(path string) ([]DiskFile, error) {
	f, err := snapshot.Open(snapshot.Disk{}, path)
	if errors.Is(err, fs.ErrNotExist) { // its user took it away; its disks were noted as well
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c, err := machine.ConfigIn(f.Small())
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return tops(c.Disks), nil
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
		file := inTree(from, d.File)
		chain, err := disk.Chain(file, disk.Options{Format: d.Format})
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(chain, func(f string) bool { return filepath.Dir(f) == h.Dir(vm) }) {
			continue // or shared: nobody changes a copy that is a snapshot's own
		}
		name := copyName(n.ID, d.ID)
		format, err := disk.CopyLayer(context.Background(), to.File(name), file, disk.DeltaFull, disk.Options{Format: d.Format, FS: diskFS}, nil)
		if err != nil {
			return nil, err
		}
		d.File, d.Format, d.Mode, d.Outside = name, format, disk.DeltaFull, nil
	}
	return disks, nil
}

// copiesFit is about how many bytes the copies of disks will take that a snapshot is to
// have of its own. It fails where they cannot be made.
func (r *Runner) copiesFit(s *snaps, how string) (copies uint64, err error) {
	dir := s.tree.File("")
	for i, f := range tops(r.m.Config().Disks) {
		switch how {
		case disk.DeltaReflink:
			if err := disk.CanReflink(dir, f.File); errors.Is(err, disk.ErrUnsupported) {
				return 0, Fail("usage", "cannot share the blocks of disk "+f.ID, err.Error(), "--disk-delta cow")
			} else if err != nil {
				return 0, err
			}
		case disk.DeltaFull:
			n, err := r.drives[i].CopySize()
			if err != nil {
				return 0, err
			}
			copies += n
		}
	}
	return copies, snapshot.Fits(snapFiles, dir, copies)
}

// copyName is the name of a snapshot's own copy of a disk.
func copyName(id snapshot.UUID, disk string) string { return fmt.Sprintf("%s.%s.img", id, disk) }
