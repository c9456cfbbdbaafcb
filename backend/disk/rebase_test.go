package disk

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// pile is a chain base <- mid <- top, and a file that none is over.
type pile struct {
	dir   string
	model []byte // what top reads as
}

func (p *pile) at(name string) string { return filepath.Join(p.dir, name) }

const pileSize = 1<<20 + 3*512

// newPile makes a chain whose images are of different sizes.
func newPile(t *testing.T, rng *rand.Rand, cluster int64, version int) *pile {
	p := &pile{dir: t.TempDir(), model: make([]byte, pileSize)}
	base := make([]byte, 700<<10)
	rng.Read(base[:600<<10])
	require.NoError(t, os.WriteFile(p.at("base"), base, 0o600))
	other := make([]byte, 900<<10)
	rng.Read(other[64<<10:])
	copy(other[64<<10:128<<10], base[64<<10:])
	require.NoError(t, os.WriteFile(p.at("other"), other, 0o600))
	copy(p.model, base)
	for _, l := range []struct{ name, over string }{{"mid", "base"}, {"top", "mid"}} {
		o := CreateOptions{Format: Qcow2, Size: pileSize, ClusterSize: cluster, Version: version, Backing: l.over}
		require.NoError(t, Create(p.at(l.name), o))
		img, err := Open(p.at(l.name), Options{})
		require.NoError(t, err)
		churn(t, rng, img, p.model, 8)
		require.NoError(t, img.Close())
	}
	return p
}

// holds demands that an image reads as the model.
func (p *pile) holds(t *testing.T, name string) {
	t.Helper()
	img, err := Open(p.at(name), Options{ReadOnly: true})
	require.NoError(t, err)
	require.True(t, bytes.Equal(p.model, readAll(t, img)), "%s reads otherwise", name)
	require.NoError(t, img.Close())
}

func (p *pile) backing(t *testing.T, name string) string {
	t.Helper()
	i, err := Inspect(p.at(name), Options{})
	require.NoError(t, err)
	return i.Backing
}

// TestRebaseAgainstQemu puts images over others: what they read as stays.
func TestRebaseAgainstQemu(t *testing.T) {
	for _, cluster := range []int64{512, 4096, 65536, 1 << 20} {
		for _, version := range []int{2, 3} {
			t.Run(fmt.Sprintf("cluster %d v%d", cluster, version), func(t *testing.T) {
				p := newPile(t, rand.New(rand.NewSource(cluster+int64(version))), cluster, version)
				require.NoError(t, os.WriteFile(p.at("model"), p.model, 0o600))
				long := strings.Repeat("./", 150) + "base"
				for _, to := range []string{"base", "other", "mid", long, "", "other"} {
					if to == long && cluster == 512 {
						to = "base"
					}
					require.NoError(t, Rebase(context.Background(), p.at("top"), RebaseOptions{Backing: to}, nil), to)
					require.Equal(t, to, p.backing(t, "top"))
					checked(t, p.at("top"))
					same2(t, p.at("top"), p.at("model"))
					p.holds(t, "top")
				}
			})
		}
	}
}

// TestRebaseTakesOverLittle: what the new image has too stays there.
func TestRebaseTakesOverLittle(t *testing.T) {
	p := newPile(t, rand.New(rand.NewSource(5)), 4096, 3)
	require.NoError(t, os.Remove(p.at("mid")))
	require.NoError(t, Create(p.at("mid"), CreateOptions{Format: Qcow2, Backing: "base"}))
	before, err := os.Stat(p.at("top"))
	require.NoError(t, err)
	require.NoError(t, Rebase(context.Background(), p.at("top"), RebaseOptions{Backing: "base"}, nil))
	after, err := os.Stat(p.at("top"))
	require.NoError(t, err)
	require.Equal(t, before.Size(), after.Size(), "an empty layer in between costs nothing")
}

// TestRebaseWhatQemuMade keeps to the header extensions that QEMU writes.
func TestRebaseWhatQemuMade(t *testing.T) {
	p := newPile(t, rand.New(rand.NewSource(6)), 65536, 3)
	require.NoError(t, os.WriteFile(p.at("model"), p.model, 0o600))
	for _, format := range []string{"compat=0.10", "compat=1.1", "compat=1.1,cluster_size=512", "compat=1.1,cluster_size=1024"} {
		name := "q-" + format
		qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-o", format, "-b", p.at("top"), "-F", "qcow2", p.at(name))
		for _, to := range []string{"base", p.at("mid"), "", "top"} {
			require.NoError(t, Rebase(context.Background(), p.at(name), RebaseOptions{Backing: to}, nil), "%s over %q", name, to)
			checked(t, p.at(name))
			same2(t, p.at(name), p.at("model"))
			require.Equal(t, to, p.backing(t, name))
		}
		qemu(t, "qemu-img", "rebase", "-f", "qcow2", "-F", "qcow2", "-b", p.at("mid"), p.at(name))
		p.holds(t, name)
	}
}

func TestRebaseRefuses(t *testing.T) {
	p := newPile(t, rand.New(rand.NewSource(7)), 4096, 3)
	ctx := context.Background()
	require.ErrorContains(t, Rebase(ctx, p.at("mid"), RebaseOptions{Backing: "top"}, nil), "itself")
	require.ErrorIs(t, Rebase(ctx, p.at("base"), RebaseOptions{Backing: "other"}, nil), ErrUnsupported)
	require.ErrorIs(t, Rebase(ctx, p.at("top"), RebaseOptions{Backing: "nowhere"}, nil), os.ErrNotExist)
	require.ErrorContains(t, Rebase(ctx, p.at("top"), RebaseOptions{Backing: strings.Repeat("x", 2000)}, nil), "at most")
	l, err := HostFS().Lock(p.at("base"), Claim{Name: "somebody"})
	require.NoError(t, err)
	var locked *LockedError
	require.ErrorAs(t, Rebase(ctx, p.at("top"), RebaseOptions{Backing: "other"}, nil), &locked)
	l.Release()
	stopped, stop := context.WithCancel(ctx)
	stop()
	require.ErrorIs(t, Rebase(stopped, p.at("top"), RebaseOptions{Backing: "other"}, nil), context.Canceled)
	require.Equal(t, "mid", p.backing(t, "top"))
	p.holds(t, "top")

	require.NoError(t, Rebase(ctx, p.at("top"), RebaseOptions{Backing: "gone", BackingFormat: Raw, Unsafe: true}, nil))
	require.Equal(t, "gone", p.backing(t, "top"))
	require.NoError(t, Rebase(ctx, p.at("top"), RebaseOptions{Backing: "mid", Unsafe: true}, nil))
	p.holds(t, "top")
}

// TestRebaseKeepsTheEpoch: a saved machine whose disk it is may still go on.
func TestRebaseKeepsTheEpoch(t *testing.T) {
	p := newPile(t, rand.New(rand.NewSource(8)), 4096, 3)
	l, err := HostFS().Lock(p.at("top"), Claim{Name: "plover"})
	require.NoError(t, err)
	epoch := l.Owner().Epoch
	l.Release()
	require.NoError(t, Rebase(context.Background(), p.at("top"), RebaseOptions{Backing: "base", Owner: "plover"}, nil))
	o, err := ReadOwner(p.at("top"))
	require.NoError(t, err)
	require.Equal(t, epoch, o.Epoch)
}

// TestToolsStopAnywhere kills rebase, commit and convert at each step they make on the
// host's files, and has each step fail once: the image reads as before, no image is
// corrupt, and the next attempt works.
func TestToolsStopAnywhere(t *testing.T) {
	ctx := context.Background()
	for _, op := range []struct {
		name  string
		do    func(p *pile, fs FS) error
		reads []string // all the time
		after func(t *testing.T, p *pile)
	}{
		{"rebase", func(p *pile, fs FS) error {
			return Rebase(ctx, p.at("top"), RebaseOptions{Backing: "base", FS: fs}, nil)
		}, []string{"top"}, func(t *testing.T, p *pile) { require.Equal(t, "base", p.backing(t, "top")) }},
		{"rebase to nothing", func(p *pile, fs FS) error {
			return Rebase(ctx, p.at("top"), RebaseOptions{FS: fs}, nil)
		}, []string{"top"}, func(t *testing.T, p *pile) { require.Empty(t, p.backing(t, "top")) }},
		{
			"commit", func(p *pile, fs FS) error { return Commit(ctx, p.at("top"), Options{FS: fs}, nil) },
			[]string{"top"},
			func(t *testing.T, p *pile) { p.holds(t, "mid") },
		},
		{"convert", func(p *pile, fs FS) error {
			src, err := Open(p.at("top"), Options{ReadOnly: true, FS: fs})
			if err != nil {
				return err
			}
			defer src.Close()
			return Convert(ctx, p.at("new"), src, CreateOptions{Format: Qcow2, FS: fs}, nil)
		}, []string{"top"}, func(t *testing.T, p *pile) { p.holds(t, "new") }},
	} {
		for _, dead := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, dead %t", op.name, dead), func(t *testing.T) {
				first := newPile(t, rand.New(rand.NewSource(10)), 16384, 3)
				for fail := 1; ; fail++ {
					p := &pile{dir: t.TempDir(), model: first.model}
					require.NoError(t, os.CopyFS(p.dir, os.DirFS(first.dir)))
					fs := &faultyFS{FS: hostFS{}, fail: fail, dead: dead}
					err := op.do(p, fs)
					for _, name := range op.reads {
						p.holds(t, name)
					}
					for _, name := range []string{"mid", "top"} {
						r, err := Check(p.at(name), false, Options{})
						require.NoError(t, err)
						require.Zero(t, r.Corruptions, "step %d: %v", fail, r.Problems)
						if fail%8 == 0 {
							qemuNoCorruption(t, p.at(name), fmt.Sprintf("step %d", fail))
						}
					}
					if err == nil {
						op.after(t, p)
						require.Less(t, fs.n, fail)
						require.Greater(t, fail, 8, "steps were counted")
						return
					}
					require.ErrorIs(t, err, errBroken)
					if _, err := os.Stat(p.at("new")); err == nil {
						p.holds(t, "new")
						require.NoError(t, os.Remove(p.at("new")))
					}
					require.NoError(t, op.do(p, hostFS{}), "step %d", fail)
					op.after(t, p)
					p.holds(t, "top")
				}
			})
		}
	}
}

// TestDriveRebases puts a drive's file over fewer layers while requests go on, and
// lets go of the one that is needed no more.
func TestDriveRebases(t *testing.T) {
	ctx := context.Background()
	p := newPile(t, rand.New(rand.NewSource(11)), 65536, 3)
	d := openDrive(t, p.at("top"), DriveOptions{Claim: Claim{Name: "plover"}})
	layer, _, err := d.Freeze(ctx, p.at("next"))
	require.NoError(t, err)
	require.Equal(t, p.at("top"), layer)
	require.True(t, d.Holds(layer))

	require.NoError(t, d.Close()) // so that what is below is only read
	d = openDrive(t, p.at("next"), DriveOptions{Claim: Claim{Name: "plover"}})
	require.False(t, d.Holds(layer))
	var wg sync.WaitGroup
	wg.Go(func() {
		rng := rand.New(rand.NewSource(12))
		for range 200 {
			off := rng.Int63n(pileSize/512-8) * 512
			part := p.model[off : off+4096]
			rng.Read(part)
			d.Write(bytes.Clone(part), off, false)
		}
	})
	rebase := func(file, onto string) {
		ours, err := d.Rebase(ctx, p.at(file), RebaseOptions{Backing: p.at(onto), Owner: "plover"})
		require.NoError(t, err)
		require.True(t, ours)
	}
	rebase("top", "base")
	ours, err := d.Rebase(ctx, p.at("other"), RebaseOptions{})
	require.NoError(t, err)
	require.False(t, ours)
	last, _, err := d.Freeze(ctx, p.at("last"))
	require.NoError(t, err)
	require.True(t, d.Holds(last))
	rebase("next", "base")
	rebase("last", "base")
	wg.Wait()
	require.NoError(t, d.Sync(ctx))
	d.Drop(last)
	require.False(t, d.Holds(last))
	d.Drop(p.at("last"))
	require.True(t, d.Holds(p.at("last")), "it takes what is written")
	for _, name := range []string{"mid", "top", "next"} {
		checked(t, p.at(name))
		require.NoError(t, Remove(p.at(name)))
	}
	d.Write(bytes.Clone(p.model[:512]), 0, false)
	require.NoError(t, d.Close())
	require.Equal(t, p.at("base"), p.backing(t, "last"))
	checked(t, p.at("last"))
	p.holds(t, "last")
}
