package control

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"godwit/backend/disk"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// Exported is a snapshot outside a tree.
type Exported struct {
	File  string     `json:"file"`
	Bytes uint64     `json:"bytes"` // of it
	Root  string     `json:"root"`
	Disks []DiskFile `json:"disks,omitempty"` // files that need no others
}

// besideName is where the disk of a machine that is exported to a file goes.
func besideName(file, id string) string { return file + "." + id + ".qcow2" }

// export writes the machine of a snapshot into one file, and each disk into one beside
// it. The machine's comes last: where it is, all of it is.
func export(ctx context.Context, t *tree.Tree, n tree.Node, file string) (e *Exported, err error) {
	what := "cannot export " + n.Tag
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return nil, Fail("usage", what, file+" exists", "another file name")
	}
	if err := outside(n); err != nil {
		return nil, err
	}
	e = &Exported{File: file, Root: n.Root}
	for _, d := range n.Disks {
		to := besideName(file, d.ID) // what is there was left by a crash: it has no machine
		if locked, err := disk.Locked(to); locked || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, Fail("usage", what, fmt.Sprintf("%s, where disk %s goes, is in use", to, d.ID), "another file name")
		}
		e.Disks = append(e.Disks, DiskFile{ID: d.ID, File: to, Format: disk.Qcow2})
	}
	made := 0
	defer func() {
		if err == nil {
			return
		}
		// It may be there, if not for sure durable: not without its disks.
		if r := os.Remove(file); r != nil && !errors.Is(r, fs.ErrNotExist) {
			made, err = 0, errors.Join(err, r)
		}
		for _, d := range e.Disks[:made] {
			err = errors.Join(err, disk.Remove(d.File))
		}
		e, err = nil, writing(what, err)
	}()
	for i, d := range n.Disks {
		if err := disk.Remove(e.Disks[i].File); err != nil {
			return e, err
		}
		o := disk.Options{Format: d.Format, FS: diskFS}
		if _, err := disk.CopyLayer(ctx, e.Disks[i].File, inTree(t, d.File), disk.DeltaFull, o, nil); err != nil {
			return e, err
		}
		made++
	}
	st, err := t.Export(ctx, n, file, snapshot.Options{Codec: snapshot.Zstd})
	e.Bytes, e.Root = st.Bytes, hex.EncodeToString(st.Root[:])
	return e, err
}

// freeName is a name for a snapshot's own copy of a disk. One that is there already was
// left by an attempt that failed, or by a snapshot that is gone, and others may be over it.
func freeName(t *tree.Tree, id snapshot.UUID, diskID string) (string, error) {
	name := copyName(id, diskID)
	for n := 2; ; n++ {
		if _, err := os.Lstat(t.File(name)); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
		name = copyName(id, fmt.Sprintf("%s-%d", diskID, n))
	}
}

// imported tells of the machine in a file that is added to a tree, and copies the disks
// that were exported with it.
func (c *SnapChange) imported(ctx context.Context, t *tree.Tree) func(snapshot.UUID, []snapshot.Section) (int64, []tree.Disk, error) {
	return func(id snapshot.UUID, secs []snapshot.Section) (at int64, disks []tree.Disk, err error) {
		if at, err = machine.TimeIn(secs); err != nil {
			return 0, nil, err
		}
		cfg, err := machine.ConfigIn(secs)
		if err != nil {
			return 0, nil, err
		}
		for _, d := range cfg.Disks {
			from := besideName(c.Import, d.ID)
			if _, err := os.Lstat(from); d.ReadOnly || errors.Is(err, fs.ErrNotExist) {
				continue // it is used where it is
			}
			i, err := disk.Inspect(from, disk.Options{FS: diskFS})
			if err != nil {
				return 0, nil, err
			}
			o, err := disk.ReadOwner(from)
			if err != nil {
				return 0, nil, err
			}
			why := ""
			switch {
			case i.Size != d.Size:
				why = fmt.Sprintf("%s has %d bytes, disk %s %d", from, i.Size, d.ID, d.Size)
			case o.Epoch > 1: // it is 1 from the first owner on
				why = fmt.Sprintf("%s was written since it was exported, by %s", from, o.Name)
			}
			if why != "" {
				return 0, nil, Fail("incompatible", "cannot import "+c.Import, why, "godwit snap export")
			}
			name, err := freeName(t, id, d.ID)
			if err != nil {
				return 0, nil, err
			}
			format, err := disk.CopyLayer(ctx, t.File(name), from, disk.DeltaFull, disk.Options{Format: i.Format, FS: diskFS}, nil)
			if err != nil {
				return 0, nil, err
			}
			disks = append(disks, tree.Disk{ID: d.ID, Mode: disk.DeltaFull, File: name, Format: format, Size: d.Size})
		}
		return at, disks, nil
	}
}
