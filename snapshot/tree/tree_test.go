package tree_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/snapshot"
	"godwit/snapshot/memtest"
	"godwit/snapshot/tree"
)

var ctx = context.Background()

const pages = 1300

// vm is a machine whose tree is grown, and what each snapshot must hold.
type vm struct {
	t     testing.TB
	fs    tree.FS
	dir   string
	mem   *memtest.Memory
	dirty map[uint32]bool
	base  snapshot.UUID
	r     *rand.Rand
	clock int64
	want  map[string]string // root by tag
}

func newVM(t testing.TB, f tree.FS) *vm {
	return &vm{
		t: t, fs: f, dir: t.TempDir(), mem: memtest.New(pages).Fill(1, 10),
		dirty: map[uint32]bool{}, r: rand.New(rand.NewPCG(1, 2)), want: map[string]string{},
	}
}

func (v *vm) open() *tree.Tree {
	t, err := tree.Open(v.fs, v.dir)
	require.NoError(v.t, err)
	return t
}

// run lets the machine change some pages.
func (v *vm) run() {
	for range 1 + v.r.IntN(20) {
		p := v.r.Uint32N(pages)
		b := make([]byte, snapshot.PageSize)
		if v.r.IntN(5) > 0 {
			b[v.r.IntN(len(b))] = byte(v.r.Uint32())
		}
		require.NoError(v.t, v.mem.Restore(p, b))
		v.dirty[p] = true
	}
}

// take takes a snapshot of the present.
func (v *vm) take(t *tree.Tree, tag string) (tree.Node, error) {
	v.clock++
	m := tree.Moment{
		Meta:     snapshot.Meta{Created: v.clock, Count: uint64(v.clock)},
		Sections: memtest.Sections(), Pages: v.mem,
	}
	if n, ok := t.Node(v.base); ok {
		f, err := t.Machine(n)
		if err != nil {
			return tree.Node{}, err
		}
		defer f.Close()
		m.Base, m.Changed = f, func(p uint32) bool { return v.dirty[p] }
	}
	n, err := t.Take(ctx, tag, "message of "+tag, m, snapshot.Options{})
	if err == nil {
		v.base = n.ID
		clear(v.dirty)
		v.want[tag] = hash(v.mem)
	}
	return n, err
}

// restore goes back to a snapshot.
func (v *vm) restore(t *tree.Tree, tag string) {
	n, err := t.Find(tag)
	require.NoError(v.t, err)
	f, err := t.Machine(n)
	require.NoError(v.t, err)
	defer f.Close()
	v.mem = memtest.New(pages)
	require.NoError(v.t, f.LoadAll(ctx, v.mem))
	require.NoError(v.t, t.SetHead(n.ID))
	v.base = n.ID
	clear(v.dirty)
}

func hash(m *memtest.Memory) string {
	r := m.Root(memtest.Sections())
	return hex.EncodeToString(r[:])
}

// check demands that the tree has the snapshots of those tags, whole.
func (v *vm) check(tags ...string) {
	v.t.Helper()
	t := v.open()
	var have []string
	for _, n := range t.Nodes() {
		have = append(have, n.Tag)
		f, err := t.Machine(n)
		require.NoError(v.t, err)
		require.NoError(v.t, f.Verify(ctx), n.Tag)
		got := memtest.New(pages)
		require.NoError(v.t, f.LoadAll(ctx, got))
		require.Equal(v.t, v.want[n.Tag], hash(got), n.Tag)
		require.LessOrEqual(v.t, f.Depth(), tree.FlattenAt)
		require.NoError(v.t, f.Close())
	}
	slices.Sort(have)
	slices.Sort(tags)
	require.Equal(v.t, tags, have)
}

// grow makes   a - b - c - d
//
//	\ e - f
func (v *vm) grow() {
	t := v.open()
	for _, tag := range []string{"a", "b", "c", "d"} {
		v.run()
		_, err := v.take(t, tag)
		require.NoError(v.t, err)
	}
	v.restore(t, "b")
	for _, tag := range []string{"e", "f"} {
		v.run()
		_, err := v.take(t, tag)
		require.NoError(v.t, err)
	}
}

func TestTree(t *testing.T) {
	v := newVM(t, tree.Host{})
	v.grow()
	v.check("a", "b", "c", "d", "e", "f")
	tr := v.open()
	b, err := tr.Find("b")
	require.NoError(t, err)
	require.Len(t, tr.Children(b.ID), 2)
	require.Equal(t, "message of b", b.Message)
	f, err := tr.Find("f")
	require.NoError(t, err)
	require.Equal(t, f.ID, tr.Head())
	byID, err := tr.Find(b.ID.String()[:13])
	require.NoError(t, err)
	require.Equal(t, "b", byID.Tag)
	_, err = tr.Find("zz")
	require.ErrorContains(t, err, `no snapshot is named "zz"`)
	require.ErrorContains(t, tr.CheckTag("a"), "already")
	require.ErrorContains(t, tr.CheckTag("../x"), "letters, digits")
	require.Equal(t, "s7", tr.NewTag())

	require.NoError(t, tr.Remove(ctx, b.ID, snapshot.Options{})) // the middle, with two children
	v.check("a", "c", "d", "e", "f")
	a, _ := tr.Find("a")
	require.Len(t, tr.Children(a.ID), 2)
	require.NoError(t, tr.Remove(ctx, a.ID, snapshot.Options{})) // the base of all
	v.check("c", "d", "e", "f")
	require.Len(t, tr.Children(snapshot.UUID{}), 2)
	c, _ := tr.Find("c")
	require.NoError(t, tr.RemoveTree(ctx, c.ID, snapshot.Options{}))
	v.check("e", "f")
	require.NoError(t, tr.Remove(ctx, f.ID, snapshot.Options{}))
	e, _ := tr.Find("e")
	require.Equal(t, e.ID, tr.Head(), "the present descends from what its snapshot did")
	names, err := tree.Host{}.List(v.dir)
	require.NoError(t, err)
	require.Len(t, names, 3, "node, machine and head: %v", names)
}

// TestFlatten: a long history is not a long chain.
func TestFlatten(t *testing.T) {
	v := newVM(t, tree.Host{})
	tr := v.open()
	var tags []string
	for i := range 20 {
		v.run()
		tags = append(tags, fmt.Sprint("t", i))
		n, err := v.take(tr, tags[i])
		require.NoError(t, err)
		require.Equal(t, i%tree.FlattenAt != 0, n.Kept > 0, i)
	}
	v.check(tags...)
}

func TestCompare(t *testing.T) {
	v := newVM(t, tree.Host{})
	tr := v.open()
	_, err := v.take(tr, "a")
	require.NoError(t, err)
	for _, p := range []uint32{3, 4, 1299} {
		b := [snapshot.PageSize]byte{0xee, byte(p)}
		require.NoError(t, v.mem.Restore(p, b[:]))
		v.dirty[p] = true
	}
	_, err = v.take(tr, "b")
	require.NoError(t, err)
	var f [2]*snapshot.File
	for i, tag := range []string{"a", "b"} {
		n, err := tr.Find(tag)
		require.NoError(t, err)
		f[i], err = tr.Machine(n)
		require.NoError(t, err)
		defer f[i].Close()
	}
	d, err := tree.Compare(f[0], f[1])
	require.NoError(t, err)
	require.Equal(t, tree.Diff{Pages: 3, Runs: []tree.PageRun{{First: 3, Count: 2}, {First: 1299, Count: 1}}}, d)
}

func TestExportImportFork(t *testing.T) {
	v := newVM(t, tree.Host{})
	v.grow()
	tr := v.open()
	d, err := tr.Find("d")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "d.gwsnap")
	_, err = tr.Export(ctx, d, path, snapshot.Options{})
	require.NoError(t, err)
	_, err = tr.Import(ctx, path, "again", "", anyTime, snapshot.Options{})
	require.ErrorContains(t, err, `is here already, as "d"`)

	other := newVM(t, tree.Host{})
	other.want = map[string]string{"d": v.want["d"], "far": v.want["d"]}
	to := other.open()
	_, err = to.Import(ctx, path, "far", "", anyTime, snapshot.Options{})
	require.NoError(t, err)
	other.check("far")

	third := newVM(t, tree.Host{})
	third.want = v.want
	require.NoError(t, tr.Fork(d, third.open(), nil))
	require.NoError(t, os.RemoveAll(v.dir)) // the fork stands alone
	third.check("d")
	third.open()
	require.Equal(t, d.ID, third.open().Head())
}

func anyTime(snapshot.UUID, []snapshot.Section) (int64, []tree.Disk, error) { return 7, nil, nil }

// TestDamagedNode: a node's file that was altered is refused by name.
func TestDamagedNode(t *testing.T) {
	v := newVM(t, tree.Host{})
	n, err := v.take(v.open(), "a")
	require.NoError(t, err)
	path := filepath.Join(v.dir, n.ID.String()+".json")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(b), `"count":1`, `"count":2`, 1)), 0o600))
	_, err = tree.Open(tree.Host{}, v.dir)
	require.ErrorContains(t, err, path+": is damaged")
}

// steps is a file system that stops working at one of its steps: as after a
// crash, all later ones fail too, unless it happens once.
type steps struct {
	tree.Host
	left int
	once bool
}

var errCrash = errors.New("no more")

func (s *steps) step() error {
	if s.left--; s.left == -1 || s.left < 0 && !s.once {
		return errCrash
	}
	return nil
}

type stepFile struct {
	snapshot.WriteFile
	s *steps
}

func (s *steps) Create(path string) (snapshot.WriteFile, error) {
	if err := s.step(); err != nil {
		return nil, err
	}
	f, err := s.Host.Create(path)
	return stepFile{f, s}, err
}

func (s *steps) Rename(from, to string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.Host.Rename(from, to)
}

func (s *steps) Remove(path string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.Host.Remove(path)
}

func (s *steps) SyncDir(path string) error {
	if err := s.step(); err != nil {
		return err
	}
	return s.Host.SyncDir(path)
}

func (f stepFile) Write(b []byte) (int, error) {
	if err := f.s.step(); err != nil {
		n, _ := f.WriteFile.Write(b[:len(b)/2])
		return n, err
	}
	return f.WriteFile.Write(b)
}

func (f stepFile) Sync() error {
	if err := f.s.step(); err != nil {
		return err
	}
	return f.WriteFile.Sync()
}

// TestCrashes cuts taking and removing off after each of their steps: every
// snapshot is still whole, GC finds what is left over, and the next try works.
func TestCrashes(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e", "f"}
	for _, op := range []struct {
		name  string
		do    func(*vm, *tree.Tree) error
		after []string
	}{
		{"take", func(v *vm, tr *tree.Tree) error { _, err := v.take(tr, "g"); return err }, append(slices.Clone(all), "g")},
		{"remove the middle", remove("b"), []string{"a", "c", "d", "e", "f"}},
		{"remove the base", remove("a"), []string{"b", "c", "d", "e", "f"}},
		{"remove the head", remove("f"), []string{"a", "b", "c", "d", "e"}},
	} {
		t.Run(op.name, func(t *testing.T) {
			for crash := 0; ; crash++ {
				v := newVM(t, tree.Host{})
				v.grow()
				v.run()
				s := &steps{left: crash}
				tr, err := tree.Open(s, v.dir)
				require.NoError(t, err)
				if op.do(v, tr) == nil {
					require.Greater(t, crash, 5, "steps were counted")
					v.check(op.after...)
					return
				}
				v.want["g"] = hash(v.mem)
				v.recovers(op.do, all, op.after)
			}
		})
	}
}

// TestImportFails has an import meet an error at each of its steps: what is in the tree
// then is what others see of it, and a machine that a fork builds on stays, though it is
// the one that was to be imported.
func TestImportFails(t *testing.T) {
	v := newVM(t, tree.Host{})
	v.grow()
	tr := v.open()
	a, err := tr.Find("a")
	require.NoError(t, err)
	b, err := tr.Find("b")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "a.gwsnap")
	_, err = tr.Export(ctx, a, path, snapshot.Options{})
	require.NoError(t, err)
	for at := 0; ; at++ {
		kid := newVM(t, tree.Host{})
		kid.want = v.want
		require.NoError(t, tr.Fork(b, kid.open(), nil)) // b builds on a
		to, err := tree.Open(&steps{left: at, once: true}, kid.dir)
		require.NoError(t, err)
		if _, err = to.Import(ctx, path, "a", "", anyTime, snapshot.Options{}); err == nil {
			require.Greater(t, at, 5, "steps were counted")
			kid.check("a", "b")
			return
		}
		require.Equal(t, kid.open().Nodes(), to.Nodes(), "step %d", at)
		kid.check("b")
		_, err = to.GC(ctx)
		require.NoError(t, err)
		kid.check("b")
		_, err = to.Import(ctx, path, "a", "", anyTime, snapshot.Options{})
		require.NoError(t, err)
		kid.check("a", "b")
	}
}

// TestHold: GC leaves what others say they are over, and takes it once they are not.
func TestHold(t *testing.T) {
	v := newVM(t, tree.Host{})
	v.grow()
	tr := v.open()
	require.NoError(t, os.WriteFile(tr.File("copy.img"), nil, 0o600))
	var held []string
	var fails error
	tr.Hold(func(nodes []tree.Node) ([]string, error) {
		require.Equal(t, tr.Nodes(), nodes)
		return held, fails
	})
	held = []string{"copy.img"}
	gone, err := tr.GC(ctx)
	require.NoError(t, err)
	require.Empty(t, gone)
	held, fails = nil, errCrash
	_, err = tr.GC(ctx)
	require.ErrorIs(t, err, errCrash)
	require.FileExists(t, tr.File("copy.img"))
	fails = nil
	gone, err = tr.GC(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"copy.img"}, gone)
}

func remove(tag string) func(*vm, *tree.Tree) error {
	return func(_ *vm, tr *tree.Tree) error {
		n, err := tr.Find(tag)
		if err != nil {
			return err
		}
		return tr.Remove(ctx, n.ID, snapshot.Options{})
	}
}

// recovers looks at a directory after a crash.
func (v *vm) recovers(again func(*vm, *tree.Tree) error, before, after []string) {
	tr := v.open()
	was := before
	if len(tr.Nodes()) == len(after) {
		was = after
	}
	v.check(was...)
	_, err := tr.GC(ctx)
	require.NoError(v.t, err)
	v.check(was...)
	names, err := v.fs.List(v.dir)
	require.NoError(v.t, err)
	for _, n := range names {
		require.NotContains(v.t, n, ".tmp")
	}
	if len(was) == len(before) {
		require.NoError(v.t, again(v, tr))
	}
	v.check(after...)
}
