package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"godwit/backend/disk"
	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// With each snapshot, and where one is restored, a disk goes on in a new layer. What
// follows takes layers away that nothing needs, and has those that only one other is
// over be taken over by that. Contents never change: a crash leaves layers that are
// needed still, or that the next attempt finds.

// maxLayers bounds how many files a disk is spread over, the user's included: with more,
// the one that is written takes over all that lie in the VM's directory.
const maxLayers = 16

// fileDisks says which files disks of a VM are in: those that were written last. Where
// the VM has no process nothing else may tell.
const fileDisks = "disks.json"

// diskFS is where a process has disks.
var diskFS = disk.HostFS()

// SetDiskFiles puts something between this process and the files of disks: for tests
// of what it does when the host fails.
func SetDiskFiles(f disk.FS) { diskFS = f }

// layers is the files that the disks of a VM are spread over.
type layers struct {
	dir, vm string
	rests   []DiskFile          // what snapshots rest on
	tops    []DiskFile          // the present's
	drives  []*disk.Drive       // that has these open, where there is a process
	below   map[string]DiskFile // what a file that is needed is over; without a name: nothing
	over    map[string]int      // how many of them are over a file
}

// merge has a file take over what is between it and another.
type merge struct {
	file  string
	onto  DiskFile
	bytes int64 // that it may take at most
}

var layerForm = regexp.MustCompile(`^(disk|overlay)-.*-[0-9]+\.qcow2$`)

// ours tells whether a file is a layer of the VM's own.
func (l *layers) ours(file string) bool {
	return filepath.Dir(file) == l.dir && layerForm.MatchString(filepath.Base(file))
}

// find follows all that is needed down to the bottom. After an error nothing may be
// removed.
func (l *layers) find() error {
	l.below, l.over = map[string]DiskFile{}, map[string]int{}
	for _, f := range slices.Concat(l.rests, l.tops) {
		if err := l.follow(f); err != nil {
			return err
		}
	}
	return nil
}

func (l *layers) follow(f DiskFile) error {
	chain, err := disk.Chain(f.File, disk.Options{Format: f.Format, FS: diskFS})
	if err != nil {
		return err
	}
	for i, file := range chain {
		if _, ok := l.below[file]; ok {
			return nil // and all below it
		}
		var under DiskFile
		if i+1 < len(chain) {
			info, err := disk.Inspect(file, disk.Options{Format: f.Format, FS: diskFS})
			if err != nil {
				return err
			}
			under = DiskFile{File: chain[i+1], Format: info.BackingFormat}
			l.over[under.File]++
		}
		l.below[file], f.Format = under, under.Format
	}
	return nil
}

// stays tells whether a file is needed for itself, and not only for the one that is
// over it.
func (l *layers) stays(file string) bool {
	return has(l.rests, file) || has(l.tops, file) || !l.ours(file) || l.over[file] != 1 || l.below[file].File == ""
}

func has(list []DiskFile, file string) bool {
	return slices.ContainsFunc(list, func(f DiskFile) bool { return f.File == file })
}

// merges lists what there is to merge.
func (l *layers) merges() (list []merge) {
	for file, under := range l.below {
		if !l.ours(file) || !l.stays(file) || under.File == "" {
			continue
		}
		flat := has(l.tops, file) && l.depth(file) > maxLayers
		m := merge{file: file, onto: under}
		for {
			next := l.below[m.onto.File]
			if next.File == "" || !l.ours(m.onto.File) || !flat && l.stays(m.onto.File) {
				break
			}
			if st, err := os.Stat(m.onto.File); err == nil {
				m.bytes += st.Size()
			}
			m.onto = next
		}
		if m.onto != under {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b merge) int { return strings.Compare(a.file, b.file) })
	return list
}

func (l *layers) depth(file string) (n int) {
	for ; file != ""; file = l.below[file].File {
		n++
	}
	return n
}

// do merges.
func (l *layers) do(ctx context.Context, m merge) error {
	if err := snapshot.Fits(snapFiles, l.dir, uint64(m.bytes)); err != nil {
		return err
	}
	o := disk.RebaseOptions{Backing: m.onto.File, BackingFormat: m.onto.Format, Owner: l.vm, FS: diskFS}
	for _, d := range l.drives {
		if ours, err := d.Rebase(ctx, m.file, o); ours || err != nil {
			return err
		}
	}
	o.Mine = func(path string) bool { // frozen by a drive that is over other files now
		return slices.ContainsFunc(l.drives, func(d *disk.Drive) bool { return d.Holds(path) })
	}
	return disk.Rebase(ctx, m.file, o, nil)
}

// sweep removes what is not needed of the VM's layers, with what goes with them and what
// was to be one, and returns the names.
func (l *layers) sweep() (gone []string, err error) {
	all, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		file := filepath.Join(l.dir, e.Name())
		image := strings.TrimSuffix(strings.TrimSuffix(file, disk.OwnerSuffix), ".part")
		if _, need := l.below[image]; !l.ours(image) || need && !strings.HasPrefix(file, image+".part") {
			continue
		}
		for _, d := range l.drives {
			d.Drop(file)
		}
		if locked, err := inUse(file); err != nil {
			return gone, err
		} else if locked {
			continue
		}
		if err := diskFS.Remove(file); errors.Is(err, fs.ErrNotExist) {
			continue // an owner file goes with its lock
		} else if err != nil {
			return gone, err
		}
		if !strings.HasSuffix(file, disk.OwnerSuffix) {
			gone = append(gone, filepath.Base(file))
		}
	}
	return gone, nil
}

// inUse tells whether somebody has an image, which is there or whose owner file is.
func inUse(file string) (bool, error) {
	if image, ok := strings.CutSuffix(file, disk.OwnerSuffix); ok {
		if _, err := os.Lstat(image); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		file = image
	}
	return disk.Locked(file)
}

// tidy merges what can be, and removes what nothing needs. What could not be merged is
// left for the next time, and why.
func (l *layers) tidy(ctx context.Context) (gone []string, left string, err error) {
	if err := l.find(); err != nil {
		return nil, "", err
	}
	list := l.merges()
	for _, m := range list {
		if err := l.do(ctx, m); err != nil {
			left = fmt.Sprintf("%s stays over %s: %v", filepath.Base(m.file), filepath.Base(l.below[m.file].File), err)
			break
		}
	}
	if len(list) > 0 {
		if err := l.find(); err != nil {
			return nil, left, err
		}
	}
	gone, err = l.sweep()
	return gone, left, errors.Join(err, ctx.Err())
}

// holds has a tree keep those of its files that disks are over, the present's included:
// a snapshot may go whose own copy of a disk others go on from.
func holds(t *tree.Tree, find func() (*layers, error)) {
	t.Hold(func(nodes []tree.Node) (names []string, err error) {
		l, err := find()
		if err != nil {
			return nil, err
		}
		l.rest(t, nodes)
		if err := l.find(); err != nil {
			return nil, err
		}
		for file := range l.below {
			if filepath.Dir(file) == filepath.Clean(t.File("")) {
				names = append(names, filepath.Base(file))
			}
		}
		return names, nil
	})
}

// copies adds all of snapshots' own copies of disks.
func (l *layers) copies(t *tree.Tree) error {
	files, err := filepath.Glob(t.File("*.img"))
	for _, f := range files {
		l.tops = append(l.tops, DiskFile{File: f})
	}
	return err
}

// rest adds what snapshots of a tree rest on.
func (l *layers) rest(t *tree.Tree, nodes []tree.Node) {
	for _, n := range nodes {
		for _, d := range n.Disks {
			l.rests = append(l.rests, DiskFile{ID: d.ID, File: inTree(t, d.File), Format: d.Format})
		}
	}
}

// inTree is where a file that a node names lies.
func inTree(t *tree.Tree, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return t.File(file)
}

// writeTops notes durably which files a VM's disks are in. Files in its directory are
// noted without that, which may get another name.
func writeTops(dir string, files []DiskFile) error {
	files = slices.Clone(files)
	for i := range files {
		if f := &files[i]; filepath.Dir(f.File) == dir {
			f.File = filepath.Base(f.File)
		}
	}
	b, err := json.Marshal(files)
	if err != nil {
		return err
	}
	return snapshot.Replace(snapFiles, filepath.Join(dir, fileDisks), append(b, '\n'))
}

// readTops reads what writeTops noted, but for files that are gone: it may have noted
// some that were given up. ok is false where nothing was ever noted.
func readTops(dir string) (files []DiskFile, ok bool, err error) {
	err = readJSON(filepath.Join(dir, fileDisks), &files)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", filepath.Join(dir, fileDisks), err)
	}
	for i := range files {
		if !filepath.IsAbs(files[i].File) {
			files[i].File = filepath.Join(dir, files[i].File)
		}
	}
	return slices.DeleteFunc(files, func(f DiskFile) bool {
		_, err := os.Lstat(f.File)
		return errors.Is(err, fs.ErrNotExist)
	}), true, nil
}
