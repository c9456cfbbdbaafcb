// Package process has hosts fail under processes that change their snapshots: this
// test's program is the process of its VMs.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/backend/disk/disktest"
	"godwit/control"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/snapshot/tree"
)

// planFile is beside a home's VMs.
const planFile = "plan"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == control.ProcessVerb {
		home := filepath.Dir(filepath.Dir(os.Args[2]))
		f := &faults{plan: filepath.Join(home, planFile)}
		control.SetSnapFiles(f)
		control.SetDiskFiles(&disktest.FS{FS: disk.HostFS(), Step: f.step})
		os.Exit(control.Serve(os.Args[2], os.Stdout))
	}
	os.Exit(m.Run())
}

var ctx = context.Background()

// world is a home with one VM, which has a disk and the snapshots a and b.
type world struct {
	t    *testing.T
	home control.Home
	c    *control.Client
	disk string // that the user has made
	dies bool   // the process does not outlive a failure
}

const vm = "plover"

func newWorld(t *testing.T) *world {
	w := &world{t: t, home: control.Home(t.TempDir()), disk: filepath.Join(t.TempDir(), "user.raw")}
	require.NoError(t, os.WriteFile(w.disk, bytes.Repeat([]byte("content "), 1<<13), 0o600))
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = 16<<20, "run=hog 1"
	cfg.Disks = []machine.DiskConfig{{ID: "disk0", File: w.disk, Format: disk.Raw}}
	w.launch(&control.Spec{Name: vm, Machine: cfg, Kernel: control.TinyName, Source: "tiny"})
	t.Cleanup(w.end)
	for _, tag := range []string{"a", "b"} {
		require.NoError(t, w.take(tag))
	}
	return w
}

// end stops all VMs.
func (w *world) end() {
	for _, n := range w.home.Names() {
		if w.home.Alive(n) {
			_ = w.home.Client(n).Post(ctx, "/v1/stop", map[string]string{"how": "force"}, nil)
			w.home.Client(n).Gone()
		}
	}
}

func (w *world) launch(s *control.Spec) {
	exe, err := os.Executable()
	require.NoError(w.t, err)
	w.c, err = w.home.Launch(exe, s)
	require.NoError(w.t, err)
}

func (w *world) take(tag string) error {
	_, err := w.c.Begin(ctx, "/v1/snap", &control.SnapRequest{Tag: tag}, nil)
	return err
}

// takeFull takes a snapshot with a copy of the disk.
func (w *world) takeFull() error { return w.takeBy("c", disk.DeltaFull) }

func (w *world) takeBy(tag, how string) error {
	_, err := w.c.Begin(ctx, "/v1/snap", &control.SnapRequest{Tag: tag, Disks: how}, nil)
	return err
}

func (w *world) remove(tag string) error {
	return w.change(control.SnapChange{Remove: tag})
}

// change changes the snapshots, and fails too where layers of disks are left unmerged.
func (w *world) change(c control.SnapChange) error {
	res, err := w.home.ChangeSnaps(ctx, vm, c)
	if err == nil && res.Left != "" {
		err = errors.New(res.Left)
	}
	return err
}

// restore has a snapshot take the place of what the VM is, in the process that it has or
// in a new one.
func (w *world) restore(tag string) error {
	if w.home.Alive(vm) {
		_, err := w.c.Begin(ctx, "/v1/snap/restore", map[string]string{"tag": tag}, nil)
		return err
	}
	var s control.Spec
	if err := w.home.ToRestore(&s, vm, tag, true); err != nil {
		return err
	}
	exe, err := os.Executable()
	require.NoError(w.t, err)
	c, err := w.home.Launch(exe, &s)
	if err == nil {
		w.c = c
	}
	return err
}

// stop ends the VM's process.
func (w *world) stop() {
	require.NoError(w.t, w.c.Post(ctx, "/v1/stop", map[string]string{"how": "force"}, nil))
	w.c.Gone()
}

// export writes a snapshot outside, whole.
func (w *world) export(tag string) error {
	file := filepath.Join(string(w.home), "out.gwsnap")
	r, err := w.home.ChangeSnaps(ctx, vm, control.SnapChange{Export: file, Tag: tag})
	if err != nil {
		if w.dies {
			w.home.Client(vm).Gone() // it may hold its name for a moment yet
		}
		if w.home.Alive(vm) {
			require.NoFileExists(w.t, file)
			return err
		}
		if _, lerr := os.Lstat(file); lerr == nil { // killed when all of it was there
			w.outside(file)
			require.NoError(w.t, os.Remove(file))
		}
		return err
	}
	require.Len(w.t, r.Exported.Disks, 1)
	require.Equal(w.t, w.outside(file), r.Exported.Disks[0].File)
	return nil
}

// outside demands that an exported machine is whole, with its disk, and returns the latter.
func (w *world) outside(file string) string {
	f, err := snapshot.Open(snapshot.Disk{}, file)
	require.NoError(w.t, err)
	require.NoError(w.t, f.Verify(ctx))
	require.NoError(w.t, f.Close())
	d := file + ".disk0.qcow2"
	require.Len(w.t, w.layers("", d, disk.Qcow2), 1, "it needs no other file")
	return d
}

// exported leaves a only outside.
func (w *world) exported() {
	require.NoError(w.t, w.export("a"))
	require.NoError(w.t, w.remove("a"))
}

func (w *world) bring(tag string) error {
	_, err := w.home.ChangeSnaps(ctx, vm, control.SnapChange{Import: filepath.Join(string(w.home), "out.gwsnap"), Tag: tag})
	return err
}

func (w *world) plan() string { return filepath.Join(string(w.home), planFile) }

// head is what the VM's present descends from.
func (w *world) head() string {
	t, err := w.home.Snaps(vm)
	require.NoError(w.t, err)
	n, ok := t.Node(t.Head())
	require.True(w.t, ok)
	return n.Tag
}

// tags demands that the VM's snapshots are whole, with their disks, and lists them.
func (w *world) tags() (tags []string) {
	t, err := w.home.Snaps(vm)
	require.NoError(w.t, err)
	for _, n := range t.Nodes() {
		f, err := t.Machine(n)
		require.NoError(w.t, err, n.Tag)
		require.NoError(w.t, f.Verify(ctx), n.Tag)
		require.NoError(w.t, f.Close())
		tags = append(tags, n.Tag)
		for _, d := range n.Disks {
			w.layers(t.File("."), d.File, d.Format)
		}
	}
	return tags
}

// layers demands that a disk reads as it should, and lists the files that it is in.
func (w *world) layers(dir, file, format string) []string {
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	img, err := disk.Open(file, disk.Options{Format: format, ReadOnly: true})
	require.NoError(w.t, err)
	got := make([]byte, img.Size())
	require.NoError(w.t, img.ReadAt(got, 0))
	require.NoError(w.t, img.Close())
	want, err := os.ReadFile(w.disk)
	require.NoError(w.t, err)
	require.Equal(w.t, want, got)
	chain, err := disk.Chain(file, disk.Options{Format: format})
	require.NoError(w.t, err)
	for _, f := range chain[:len(chain)-1] {
		r, err := disk.Check(f, false, disk.Options{})
		require.NoError(w.t, err)
		require.Zero(w.t, r.Corruptions, f)
	}
	return chain
}

// present lists the files that the VM's disk is in.
func (w *world) present() (all []string) {
	b, err := os.ReadFile(filepath.Join(w.home.Dir(vm), "disks.json"))
	require.NoError(w.t, err)
	var files []control.DiskFile
	require.NoError(w.t, json.Unmarshal(b, &files))
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(w.home.Dir(vm), f.File)); filepath.IsAbs(f.File) || err == nil {
			all = append(all, w.layers(w.home.Dir(vm), f.File, f.Format)...)
		}
	}
	require.NotEmpty(w.t, all)
	return all
}

// clean demands that gc leaves only files of snapshots.
func (w *world) clean() {
	require.NoError(w.t, w.change(control.SnapChange{GC: true}))
	t, err := w.home.Snaps(vm)
	require.NoError(w.t, err)
	names, err := tree.Host{}.List(filepath.Join(w.home.Dir(vm), "snap"))
	require.NoError(w.t, err)
	for _, name := range names {
		id, _, _ := strings.Cut(name, ".")
		known := name == "head"
		for _, n := range t.Nodes() {
			known = known || n.ID.String() == id || strings.HasPrefix(id, n.ID.String())
		}
		require.True(w.t, known, "%s is left over", name)
	}
	need := w.present()
	for _, n := range t.Nodes() {
		for _, d := range n.Disks {
			need = append(need, w.layers(t.File("."), d.File, d.Format)...)
		}
	}
	names, err = tree.Host{}.List(w.home.Dir(vm))
	require.NoError(w.t, err)
	for _, name := range names {
		if f, _ := strings.CutSuffix(name, disk.OwnerSuffix); strings.HasPrefix(f, "disk-") {
			require.Contains(w.t, need, filepath.Join(w.home.Dir(vm), f), "%s is left over", name)
		}
	}
}

// TestHostFails has a snapshot be taken, the base be removed, the newest be removed, whose
// layer the present takes over, one be restored, in the same process and in a new one, or
// exported and imported, where the process is killed, finds no room, or meets a broken disk
// at each of its steps, those on disks included: what was there is there still, gc finds
// what is left over, and the next attempt works. The full tier looks at every step, the
// other at some of them.
func TestHostFails(t *testing.T) {
	for _, what := range []string{kill, full, eio} {
		for _, op := range []operation{
			{"take", func(*world) {}, func(w *world) error { return w.take("c") }, []string{"a", "b"}, []string{"a", "b", "c"}, "c"},
			{"take full", func(*world) {}, (*world).takeFull, []string{"a", "b"}, []string{"a", "b", "c"}, "c"},
			{"remove", func(*world) {}, func(w *world) error { return w.remove("a") }, []string{"a", "b"}, []string{"b"}, "b"},
			{"merge", func(*world) {}, func(w *world) error { return w.remove("b") }, []string{"a", "b"}, []string{"a"}, "a"},
			{"restore", func(*world) {}, func(w *world) error { return w.restore("a") }, []string{"a", "b"}, []string{"a", "b"}, "a"},
			{"restore anew", (*world).stop, func(w *world) error { return w.restore("a") }, []string{"a", "b"}, []string{"a", "b"}, "a"},
			{"export", func(*world) {}, func(w *world) error { return w.export("a") }, []string{"a", "b"}, []string{"a", "b"}, "b"},
			{"import", (*world).exported, func(w *world) error { return w.bring("c") }, []string{"b"}, []string{"c", "b"}, "b"},
		} {
			at, stride := 1, 11
			if os.Getenv("GODWIT_FULL") != "" {
				stride = 1
			} else if op.name == "take full" {
				continue // its steps are those of the other and of disk.Convert
			}
			t.Run(what+" "+op.name, func(t *testing.T) {
				for fails(t, what, at, &op) {
					at += stride
				}
				require.Greater(t, at, 4, "steps were counted")
			})
		}
	}
}

// operation is something that a host fails under, and the VM's snapshots before and after
// it.
type operation struct {
	name          string
	first         func(w *world)
	do            func(w *world) error
	before, after []string
	head          string // after it
}

// fails runs one operation up to the step at which the host fails; false: it was done
// before that.
func fails(t *testing.T, what string, at int, op *operation) bool {
	w := newWorld(t)
	defer w.end() // what runs on takes its time from the steps that follow
	op.first(w)
	require.NoError(t, os.WriteFile(w.plan(), fmt.Appendln(nil, what, at), 0o600))
	lived := w.home.Alive(vm)
	w.dies = what == kill
	err := op.do(w)
	require.NoError(t, os.Remove(w.plan()))
	if err != nil && (what == kill || !lived) {
		w.home.Client(vm).Gone()
	}
	have := w.tags()
	if err == nil {
		require.Equal(t, op.after, have)
		require.Equal(t, op.head, w.head())
		return false
	}
	if len(have) == len(op.after) {
		require.Equal(t, op.after, have, "step %d", at)
	} else {
		require.Equal(t, op.before, have, "step %d", at)
	}
	require.Equal(t, what != kill && lived, w.home.Alive(vm))
	w.present()
	w.clean()
	require.Equal(t, have, w.tags())
	if w.home.Alive(vm) {
		st, err := w.c.Status()
		require.NoError(t, err)
		require.Equal(t, control.StateRunning, st.State)
	} else if !strings.HasPrefix(op.name, "restore") { // it goes on from its newest snapshot
		require.NoError(t, w.restore(have[len(have)-1]))
	}
	if len(have) != len(op.after) || slices.Equal(op.before, op.after) {
		require.NoError(t, op.do(w), "step %d", at)
		require.Equal(t, op.head, w.head())
	}
	require.Equal(t, op.after, w.tags())
	require.True(t, w.home.Alive(vm))
	w.clean()
	return true
}

// TestCopyIsForeseen: a copy of a disk that will not fit is not begun, before the pause
// where it is the copy alone, else after it. The disk then has a layer more, until gc.
func TestCopyIsForeseen(t *testing.T) {
	w := newWorld(t)
	before := w.present()
	for _, c := range []struct{ free, layers int }{{60000, 0}, {66000, 1}} {
		require.NoError(t, os.WriteFile(w.plan(), fmt.Appendln(nil, room, c.free), 0o600))
		var e *control.Error
		require.ErrorAs(t, w.takeFull(), &e)
		require.Equal(t, "resource", e.Code)
		require.Contains(t, e.Why, "are free")
		require.NoError(t, os.Remove(w.plan()))
		require.Len(t, w.present(), len(before)+c.layers)
		require.Equal(t, []string{"a", "b"}, w.tags())
	}
	w.clean()
	require.Len(t, w.present(), len(before))
	require.NoError(t, w.takeFull())
	require.Equal(t, []string{"a", "b", "c"}, w.tags())
}

// TestReflinks keeps disks by reflink, which survive that the layers go, or is refused
// before anything is done. TMPDIR=DIR on btrfs or xfs has it do the former.
func TestReflinks(t *testing.T) {
	w := newWorld(t)
	before := w.present()
	err := w.takeBy("c", disk.DeltaReflink)
	if can := disk.CanReflink(string(w.home), w.disk); can != nil {
		var e *control.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "usage", e.Code)
		require.Contains(t, e.Hint, "cow")
		require.Equal(t, before, w.present())
		t.Skipf("refused as it should be; not tested here: snapshots by reflink: %v", can)
	}
	require.NoError(t, err)
	require.NoError(t, w.takeBy("d", disk.DeltaReflink))
	_, n, err := w.home.Snap(vm, "d")
	require.NoError(t, err)
	require.Equal(t, disk.DeltaReflink, n.Disks[0].Mode)
	w.launch(&control.Spec{Name: "kid", Fork: &control.Fork{VM: vm, ID: n.ID}, Source: "snapshot"})
	require.NoError(t, w.take("mine"))
	w.c = w.home.Client(vm)
	for _, tag := range []string{"a", "b", "c"} {
		require.NoError(t, w.remove(tag))
	}
	w.clean()
	require.NoError(t, w.restore("d"))
	require.Equal(t, []string{"d"}, w.tags())
	w.stop()
	require.NoError(t, os.RemoveAll(w.home.Dir(vm)))
	kid, err := w.home.Snaps("kid")
	require.NoError(t, err)
	for _, n := range kid.Nodes() { // it has all that it needs
		w.layers(kid.File(""), n.Disks[0].File, n.Disks[0].Format)
	}
}

// TestOwnCopiesStay: a snapshot goes whose own copy of the disk the present is over, or a
// layer of another snapshot. The copy stays for as long as that is so.
func TestOwnCopiesStay(t *testing.T) {
	w := newWorld(t)
	copies := func() (names []string) {
		all, err := tree.Host{}.List(filepath.Join(w.home.Dir(vm), "snap"))
		require.NoError(t, err)
		for _, name := range all {
			if filepath.Ext(name) == ".img" {
				names = append(names, name)
			}
		}
		return names
	}
	require.NoError(t, w.takeFull())
	require.NoError(t, w.restore("c"))
	require.NoError(t, w.take("d")) // a layer over the copy
	require.NoError(t, w.export("d"))
	require.NoError(t, w.remove("c"))
	require.Len(t, copies(), 1)
	w.present()
	require.Equal(t, []string{"a", "b", "d"}, w.tags())
	require.NoError(t, w.restore("a"))
	require.NoError(t, w.remove("d"))
	require.Empty(t, copies())

	require.NoError(t, w.bring("e"))
	require.NoError(t, w.restore("e"))
	require.NoError(t, w.remove("e"))
	require.NoError(t, w.bring("f")) // the same one, whose copy is in use
	require.Len(t, copies(), 2)
	require.NoError(t, w.remove("f"))
	w.present()
	w.stop()
	require.NoError(t, w.change(control.SnapChange{GC: true}))
	require.Len(t, copies(), 1)
	w.present()
	require.NoError(t, w.remove("b"))
	require.Len(t, copies(), 1, "the present is over it without a process, too")
	require.NoError(t, w.restore("a"))
	require.NoError(t, w.change(control.SnapChange{GC: true}))
	require.Empty(t, copies())
}

// TestSpoiltBase: snapshots whose disk's bottom image was written since are refused.
func TestSpoiltBase(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.takeFull())
	d, err := disk.OpenDrive(w.disk, disk.DriveOptions{Format: disk.Raw, Claim: disk.Claim{Name: "thief"}})
	require.ErrorContains(t, err, "in use by process")
	require.Nil(t, d)
	w.stop()
	before, err := os.ReadFile(w.disk)
	require.NoError(t, err)
	write := func() {
		d, err := disk.OpenDrive(w.disk, disk.DriveOptions{Format: disk.Raw, Claim: disk.Claim{Name: "thief"}})
		require.NoError(t, err)
		d.Write(make([]byte, 512), 0, true)
		require.NoError(t, d.Close())
	}
	require.NoError(t, w.restore("a")) // the thief never was there
	w.stop()
	write()
	for _, tag := range []string{"a", "b"} { // b is in a layer over it
		err := w.restore(tag)
		require.ErrorContains(t, err, "user.raw, which thief has written since")
		w.home.Client(vm).Gone()
		_, err = w.home.ChangeSnaps(ctx, vm, control.SnapChange{Export: filepath.Join(t.TempDir(), "x"), Tag: tag})
		require.ErrorContains(t, err, "thief")
	}
	require.NoError(t, os.WriteFile(w.disk, before, 0o600))
	require.NoError(t, w.restore("c")) // has a copy of its own
	require.ErrorContains(t, w.restore("b"), "thief")
	require.Equal(t, "c", w.head())
}

// TestImportCanBeRepeated: an attempt to import that failed leaves nothing in the way of
// the next one, also without gc.
func TestImportCanBeRepeated(t *testing.T) {
	w := newWorld(t)
	w.exported()
	failed := 0
	for at := 1; ; at += 3 {
		require.NoError(t, os.WriteFile(w.plan(), fmt.Appendln(nil, eio, at), 0o600))
		err := w.bring("c")
		require.NoError(t, os.Remove(w.plan()))
		if err == nil {
			break
		}
		failed++
		require.ErrorContains(t, err, "input/output error", "step %d", at)
		require.Equal(t, []string{"b"}, w.tags())
	}
	require.Greater(t, failed, 4)
	require.Equal(t, []string{"c", "b"}, w.tags())
	w.clean()
}

// TestLongHistory takes so many snapshots that both a machine's file and the disk's
// layers become too many on the way.
func TestLongHistory(t *testing.T) {
	w := newWorld(t)
	files, layers := map[int]bool{}, map[int]bool{}
	for i := range 19 {
		require.NoError(t, w.take(fmt.Sprint("more", i)))
		_, n, err := w.home.Snap(vm, fmt.Sprint("more", i))
		require.NoError(t, err)
		tr, err := w.home.Snaps(vm)
		require.NoError(t, err)
		f, err := tr.Machine(n)
		require.NoError(t, err)
		files[f.Depth()] = true
		require.NoError(t, f.Close())
		layers[len(w.present())] = true
	}
	for i := 1; i <= tree.FlattenAt; i++ {
		require.True(t, files[i], "spread over %d", i)
	}
	require.Len(t, files, tree.FlattenAt)
	require.True(t, layers[2] && layers[16])
	require.False(t, layers[17])
	require.Len(t, w.tags(), 21)
	for i := range 18 {
		require.NoError(t, w.remove(fmt.Sprint("more", i)))
	}
	w.clean()
	require.Equal(t, []string{"a", "b", "more18"}, w.tags())
	require.NoError(t, w.restore("b"))
	require.NoError(t, w.restore("more18"))
	w.clean()
}
