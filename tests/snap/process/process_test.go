// Package process has hosts fail under processes that change their snapshots: this
// test's program is the process of its VMs.
package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/control"
	"godwit/machine"
	"godwit/snapshot/tree"
)

// planFile is beside a home's VMs.
const planFile = "plan"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == control.ProcessVerb {
		home := filepath.Dir(filepath.Dir(os.Args[2]))
		control.SetSnapFiles(&faults{plan: filepath.Join(home, planFile)})
		os.Exit(control.Serve(os.Args[2], os.Stdout))
	}
	os.Exit(m.Run())
}

var ctx = context.Background()

// world is a home with one VM, which has the snapshots a and b.
type world struct {
	t    *testing.T
	home control.Home
	c    *control.Client
}

const vm = "plover"

func newWorld(t *testing.T) *world {
	w := &world{t: t, home: control.Home(t.TempDir())}
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.Append = 16<<20, "run=hog 1"
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

func (w *world) remove(tag string) error {
	_, err := w.home.ChangeSnaps(ctx, w.c.Name(), control.SnapChange{Remove: tag})
	return err
}

func (w *world) plan() string { return filepath.Join(string(w.home), planFile) }

// tags demands that the VM's snapshots are whole, and lists them.
func (w *world) tags() (tags []string) {
	t, err := w.home.Snaps(vm)
	require.NoError(w.t, err)
	for _, n := range t.Nodes() {
		f, err := t.Machine(n)
		require.NoError(w.t, err, n.Tag)
		require.NoError(w.t, f.Verify(ctx), n.Tag)
		require.NoError(w.t, f.Close())
		tags = append(tags, n.Tag)
	}
	return tags
}

// clean demands that gc leaves only files of snapshots.
func (w *world) clean() {
	_, err := w.home.ChangeSnaps(ctx, vm, control.SnapChange{GC: true})
	require.NoError(w.t, err)
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
}

// TestHostFails has a snapshot be taken, and the base be removed, in a process that is
// killed, finds no room, or meets a broken disk at each of its steps: what was there is
// there still, gc finds what is left over, and the next attempt works. The full tier
// looks at every step, the other at a third of them.
func TestHostFails(t *testing.T) {
	for _, what := range []string{kill, full, eio} {
		for _, op := range []struct {
			name          string
			do            func(w *world) error
			before, after []string
		}{
			{"take", func(w *world) error { return w.take("c") }, []string{"a", "b"}, []string{"a", "b", "c"}},
			{"remove", func(w *world) error { return w.remove("a") }, []string{"a", "b"}, []string{"b"}},
		} {
			t.Run(what+" "+op.name, func(t *testing.T) {
				at, stride := 1, 3
				if os.Getenv("GODWIT_FULL") != "" {
					stride = 1
				}
				for fails(t, what, at, op.do, op.before, op.after) {
					at += stride
				}
				require.Greater(t, at, 4, "steps were counted")
			})
		}
	}
}

// fails runs one operation up to the step at which the host fails; false: it was done
// before that.
func fails(t *testing.T, what string, at int, do func(w *world) error, before, after []string) bool {
	w := newWorld(t)
	defer w.end() // what runs on takes its time from the steps that follow
	require.NoError(t, os.WriteFile(w.plan(), fmt.Appendln(nil, what, at), 0o600))
	err := do(w)
	require.NoError(t, os.Remove(w.plan()))
	if what == kill && err != nil {
		w.c.Gone()
	}
	have := w.tags()
	if err == nil {
		require.Equal(t, after, have)
		return false
	}
	if len(have) == len(after) {
		require.Equal(t, after, have, "step %d", at)
	} else {
		require.Equal(t, before, have, "step %d", at)
	}
	require.Equal(t, what != kill, w.home.Alive(vm))
	w.clean()
	require.Equal(t, have, w.tags())
	if what == kill { // it goes on from its newest snapshot, as another VM
		_, n, err := w.home.Snap(vm, have[len(have)-1])
		require.NoError(t, err)
		if after[0] != "b" {
			w.launch(&control.Spec{Name: "again", Fork: &control.Fork{VM: vm, ID: n.ID}, Source: "snapshot"})
			require.NoError(t, w.take("d"))
			return true
		}
	} else {
		st, err := w.c.Status()
		require.NoError(t, err)
		require.Equal(t, control.StateRunning, st.State)
	}
	if len(have) != len(after) {
		require.NoError(t, do(w), "step %d", at)
	}
	require.Equal(t, after, w.tags())
	return true
}
