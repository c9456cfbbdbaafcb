package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"godwit/backend/disk"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// dirSnaps is where a VM's directory has its snapshots.
const dirSnaps = "snap"

// snaps is a running VM's snapshots. Whoever made the VM busy uses it.
type snaps struct {
	tree    *tree.Tree
	base    *snapshot.File   // what changes are counted from; nil: nothing
	changes *machine.Changes // nil: not counted; used on the machine goroutine
}

// SnapRequest is the body of POST /v1/snap.
type SnapRequest struct {
	Tag     string `json:"tag,omitempty"` // empty: the next s1, s2, ...
	Message string `json:"message,omitempty"`
	Paused  bool   `json:"paused,omitempty"`     // the guest stands still until all is written
	Disks   string `json:"disk_delta,omitempty"` // cow, full or reflink; empty: cow
}

// SnapResult tells what a snapshot took.
type SnapResult struct {
	tree.Node
	Zero    uint32 `json:"zero"`     // pages that take no room
	PauseNS int64  `json:"pause_ns"` // host time that the guest stood still
	TookNS  int64  `json:"took_ns"`  // host time until it was durable
}

// openTree opens a VM's snapshots, and makes their directory.
func openTree(dir string) (*tree.Tree, error) {
	dir = filepath.Join(dir, dirSnaps)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return tree.Open(snapFiles, dir)
}

// snapFiles is where a process that changes snapshots has their files.
var snapFiles tree.FS = tree.Host{}

// SetSnapFiles puts something between this process and the files of snapshots: for
// tests of what it does when the host fails.
func SetSnapFiles(f tree.FS) { snapFiles = f }

// kept is the snapshots of this VM.
// Preconditions: the VM is busy with this.
func (r *Runner) kept() (*snaps, error) {
	if r.snaps != nil {
		return r.snaps, nil
	}
	t, err := openTree(r.home())
	if err != nil {
		return nil, err
	}
	holds(t, r.layers)
	r.snaps = &snaps{tree: t}
	return r.snaps, nil
}

// rest makes a snapshot the one that changes are counted from, the machine being
// the one in it.
func (s *snaps) rest(base *snapshot.File, m *machine.Machine) {
	if s.base != nil {
		_ = s.base.Close() // it was only read
	}
	s.base = base
	if m != nil {
		s.changes = m.Changes()
	}
}

// snap takes a snapshot while the guest runs on.
func (r *Runner) snap(o *ops, q SnapRequest) (*op, error) {
	what := "cannot take a snapshot"
	if r.spec.Ephemeral {
		return nil, Fail("usage", fmt.Sprintf("%q is ephemeral", r.Status().Name), "it leaves nothing behind", "godwit suspend -o FILE")
	}
	if err := r.begin(StateSaving, "snapshotted"); err != nil {
		return nil, err
	}
	r.share(!q.Paused)
	p, ctx := o.start("snap", "pages")
	go func() {
		res, err := r.take(ctx, p, q)
		r.settle()
		p.finish(AsError(what, err), func(o *Op) { o.Snap = res })
	}()
	return p, nil
}

// take is the work of snap.
func (r *Runner) take(ctx context.Context, p *op, q SnapRequest) (*SnapResult, error) {
	start := time.Now()
	s, err := r.kept()
	if err != nil {
		return nil, err
	}
	if q.Tag == "" {
		q.Tag = s.tree.NewTag()
	}
	if err := s.tree.CheckTag(q.Tag); err != nil {
		return nil, Fail("usage", "cannot take a snapshot", err.Error(), "godwit snap take VM "+s.tree.NewTag())
	}
	if q.Disks == "" {
		q.Disks = disk.DeltaCOW
	}
	if !slices.Contains([]string{disk.DeltaCOW, disk.DeltaFull, disk.DeltaReflink}, q.Disks) {
		return nil, Fail("usage", fmt.Sprintf("disks cannot be kept by %q", q.Disks), "there are cow, full and reflink", "--disk-delta cow")
	}
	copies, err := r.copiesFit(s, q.Disks)
	var layers []string
	if err == nil {
		layers, err = r.prepareDisks(ctx)
	}
	if err != nil {
		return nil, writing("cannot take a snapshot", err)
	}
	defer r.settleTops()
	var shot *machine.Shot
	var disks []tree.Disk
	var pause time.Duration
	if err := r.onMachine(func() (err error) {
		stop := time.Now()
		if disks, err = r.freezeDisks(ctx, layers); err == nil {
			shot, err = r.shoot(ctx, s)
		}
		pause = time.Since(stop)
		return err
	}); err != nil {
		return nil, errors.Join(err, r.unprepareDisks())
	}
	n, err := r.write(ctx, p, s, shot, disks, copies, q, start)
	var base *snapshot.File
	if err == nil {
		base, err = s.tree.Machine(n)
	}
	err = errors.Join(err, r.onMachine(func() error {
		shot.Close()
		if base != nil {
			s.changes.Settled()
		}
		return nil
	}))
	if err != nil {
		return nil, writing("cannot take a snapshot", err)
	}
	s.rest(base, nil)
	took := time.Since(start)
	if r.deep() {
		_, left, err := r.tidyDisks(ctx)
		r.unmerged(left, err)
	}
	return &SnapResult{Node: n, Zero: n.Pages - n.Stored - n.Kept, PauseNS: int64(pause), TookNS: int64(took)}, nil
}

// write writes a shot, on any goroutine, and copies of disks of about so many bytes.
func (r *Runner) write(ctx context.Context, p *op, s *snaps, shot *machine.Shot, disks []tree.Disk, copies uint64, q SnapRequest, start time.Time) (tree.Node, error) {
	secs, err := shot.Sections()
	if err != nil {
		return tree.Node{}, err
	}
	id := snapshot.NewUUID()
	m := tree.Moment{
		Meta:    snapshot.Meta{UUID: id, Count: shot.Count, Created: start.UnixNano(), CPUModel: shot.CPU},
		GuestNS: int64(shot.Time), Sections: secs, Pages: shot, Disks: disks, Base: s.base, Changed: shot.Changed,
	}
	o := snapshot.Options{
		Codec:    snapshot.Zstd,
		Progress: func(done, total uint32) { p.progress(uint64(done), uint64(total)) },
	}
	if copies > 0 {
		if err := s.tree.Fits(m, o, copies); err != nil {
			return tree.Node{}, err
		}
	}
	err = s.keepDisks(ctx, id, disks, q.Disks)
	if err == nil {
		err = noteOutside(s.tree, r.home(), disks)
	}
	if err != nil {
		return tree.Node{}, err
	}
	return s.tree.Take(ctx, q.Tag, q.Message, m, o)
}

// shotPool bounds what a guest may write ahead of a snapshot that is being
// written, in pages: 64 MiB, or a quarter of large memories.
func shotPool(memory uint64) int { return int(max(64<<20, memory/4) / snapshot.PageSize) }

// shoot takes the shot, on the machine goroutine.
func (r *Runner) shoot(ctx context.Context, s *snaps) (*machine.Shot, error) {
	all := !s.tree.CanBase(s.base)
	if all {
		if err := r.whole(ctx); err != nil {
			return nil, err
		}
	}
	var changed []uint64
	if s.changes == nil {
		s.changes = r.m.Changes()
	} else {
		changed = s.changes.Since()
	}
	if all {
		changed = nil
	}
	return r.m.Shoot(changed, shotPool(r.m.Config().Memory))
}

// restore puts the machine of a snapshot in the place of the present one.
func (r *Runner) restore(o *ops, tag string) (*op, error) {
	what := "cannot restore " + tag
	if r.spec.Record != "" || r.spec.Replay != "" {
		return nil, Fail("state", what, "the VM is being recorded or replayed", "godwit snap fork "+tag)
	}
	if err := r.begin(StateSaving, "restored"); err != nil {
		return nil, err
	}
	p, ctx := o.start("restore", "pages")
	go r.long(p, what, func() (func(*Op), error) {
		n, err := r.replace(ctx, tag)
		if err != nil {
			return nil, err
		}
		r.unbusy()
		return func(o *Op) { o.Snap = &SnapResult{Node: n} }, nil
	})
	return p, nil
}

func (r *Runner) replace(ctx context.Context, tag string) (n tree.Node, err error) {
	s, err := r.kept()
	if err != nil {
		return n, err
	}
	if n, err = findSnap(s.tree, r.Status().Name, tag); err != nil {
		return n, err
	}
	if err := outside(n); err != nil {
		return n, err
	}
	f, err := s.tree.Machine(n)
	if err != nil {
		return n, err
	}
	old, drives, files := r.m, r.drives, r.spec.DiskFiles
	r.drives = nil
	m, err := r.loadSnap(ctx, f, n)
	if err == nil { // until the head is set, the disks may be either machine's
		err = r.noteTops(old, tops(m.Config().Disks)...)
	}
	if err == nil {
		err = s.tree.SetHead(n.ID)
	}
	if err != nil {
		for _, d := range r.drives {
			err = errors.Join(err, d.Close())
		}
		r.drives, r.spec.DiskFiles = drives, files
		return n, errors.Join(err, f.Close())
	}
	err = old.CloseDisks()
	r.mu.Lock()
	r.m = m
	r.mu.Unlock()
	s.rest(f, m)
	r.loader, r.old = nil, old
	_ = r.noteTops(m) // what is noted has these
	return n, err
}

// loadSnap builds the machine of a snapshot, its disks being as they were then.
func (r *Runner) loadSnap(ctx context.Context, f *snapshot.File, n tree.Node) (*machine.Machine, error) {
	if err := r.layDisks(n.Disks); err != nil {
		return nil, err
	}
	return machine.Load(ctx, f, r)
}

// findSnap finds a snapshot by its tag or id.
func findSnap(t *tree.Tree, vm, tag string) (tree.Node, error) {
	n, err := t.Find(tag)
	if err != nil {
		return n, Fail("not-found", err.Error(), "", "godwit snap tree "+vm)
	}
	return n, nil
}

// SnapChange is the body of POST /v1/snaps: it changes the tree, or copies from it.
type SnapChange struct {
	Remove  string `json:"remove,omitempty"` // this tag
	Tree    bool   `json:"tree,omitempty"`   // and all that descends from it
	Import  string `json:"import,omitempty"` // this file
	Export  string `json:"export,omitempty"` // to this file, and files beside it
	Tag     string `json:"tag,omitempty"`    // under, or of, this tag
	Message string `json:"message,omitempty"`
	GC      bool   `json:"gc,omitempty"`
}

// SnapChanged tells what a change of the tree did.
type SnapChanged struct {
	Removed  []string   `json:"removed,omitempty"` // tags
	Imported *tree.Node `json:"imported,omitempty"`
	Exported *Exported  `json:"exported,omitempty"`
	Files    []string   `json:"files,omitempty"` // that nothing needed
	Left     string     `json:"left,omitempty"`  // layers of disks that could not be merged, and why
}

// apply changes a tree.
func (c *SnapChange) apply(ctx context.Context, t *tree.Tree, vm string) (res SnapChanged, err error) {
	o := snapshot.Options{Codec: snapshot.Zstd}
	switch {
	case c.GC:
		res.Files, err = t.GC(ctx)
	case c.Import != "":
		var n tree.Node
		if err := t.CheckTag(c.Tag); err != nil {
			return res, Fail("usage", "cannot import "+c.Import, err.Error(), "godwit snap import FILE TAG")
		}
		n, err = t.Import(ctx, c.Import, c.Tag, c.Message, c.imported(ctx, t), o)
		res.Imported = &n
	case c.Export != "":
		n, err := findSnap(t, vm, c.Tag)
		if err != nil {
			return res, err
		}
		res.Exported, err = export(ctx, t, n, c.Export)
		return res, err
	default:
		n, err := findSnap(t, vm, c.Remove)
		if err != nil {
			return res, err
		}
		before := t.Nodes()
		if c.Tree {
			err = t.RemoveTree(ctx, n.ID, o)
		} else {
			err = t.Remove(ctx, n.ID, o)
		}
		for _, b := range before {
			if _, ok := t.Node(b.ID); !ok {
				res.Removed = append(res.Removed, b.Tag)
			}
		}
		return res, err
	}
	return res, err
}

// tidied adds what was done about the layers of disks.
func (res *SnapChanged) tidied(gone []string, left string, err error) error {
	res.Files, res.Left = append(res.Files, gone...), left
	return err
}

// changeSnaps changes the tree of a VM that has a process.
func (r *Runner) changeSnaps(ctx context.Context, c SnapChange) (res SnapChanged, err error) {
	defer func() { err = AsNil(err, "cannot change the snapshots of "+r.Status().Name) }()
	if err := r.begin(StateSaving, "snapshotted"); err != nil {
		return res, err
	}
	defer r.settle()
	r.share(true)
	s, err := r.kept()
	if err != nil {
		return res, err
	}
	res, err = c.apply(ctx, s.tree, r.Status().Name)
	if err == nil && (c.Remove != "" || c.GC) {
		err = res.tidied(r.tidyDisks(ctx))
	}
	if s.base != nil {
		if _, ok := s.tree.Node(s.base.Meta().UUID); !ok {
			s.rest(nil, nil) // the next snapshot is complete
		}
	}
	return res, err
}

// ChangeSnaps changes the tree of a VM, through its process if it has one.
func (h Home) ChangeSnaps(ctx context.Context, name string, c SnapChange) (res SnapChanged, err error) {
	for _, file := range []*string{&c.Import, &c.Export} {
		if *file != "" {
			if *file, err = filepath.Abs(*file); err != nil {
				return res, err
			}
		}
	}
	if h.Alive(name) {
		cl, err := h.Connect(name)
		if err != nil {
			return res, err
		}
		return res, cl.Post(ctx, "/v1/snaps", &c, &res)
	}
	unlock, err := h.alone(name)
	if err != nil {
		return res, err
	}
	defer unlock()
	t, err := openTree(h.Dir(name))
	if err != nil {
		return res, err
	}
	holds(t, func() (*layers, error) {
		l, ok, err := h.layers(name)
		if err == nil && !ok { // nobody knows what the present is over
			err = l.copies(t)
		}
		return l, err
	})
	if res, err = c.apply(ctx, t, name); err == nil && (c.Remove != "" || c.GC) {
		err = res.tidied(h.tidyDisks(ctx, name, t))
	}
	return res, AsNil(err, "cannot change the snapshots of "+name)
}

// Snaps opens the snapshots of a VM to look at them. For nobody's sake are they
// changed through it.
func (h Home) Snaps(name string) (*tree.Tree, error) {
	t, err := tree.Open(tree.Host{}, filepath.Join(h.Dir(name), dirSnaps))
	return t, AsNil(err, "cannot read the snapshots of "+name)
}
