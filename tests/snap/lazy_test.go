package snap

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/mem"
	"godwit/snapshot"
)

// saved is a machine in a file, with what becomes of it.
type saved struct {
	path  string
	at    uint64
	later string // hash at 2*at
}

func save(t *testing.T, cpus int) saved {
	s := saved{path: filepath.Join(t.TempDir(), "vm.gwsnap"), at: 4_000_000}
	m := writer(t, cpus)
	runTo(t, m, s.at)
	_, err := m.Save(ctx, snapshot.Disk{}, s.path, 0, snapshot.Options{Codec: snapshot.S2})
	require.NoError(t, err)
	runTo(t, m, 2*s.at)
	s.later = hashOf(t, m)
	return s
}

func open(t testing.TB, path string) *snapshot.File {
	f, err := snapshot.Open(snapshot.Disk{}, path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// pullTo runs a machine whose pages come when it needs them.
func pullTo(t testing.TB, m *machine.Machine, l *machine.Loader, count uint64) (pulls int) {
	for {
		switch s := m.Run(count); s {
		case machine.Reached:
			return pulls
		case machine.Stalled:
			require.Equal(t, mem.PageAbsent, m.Stall().Why)
			require.NoError(t, l.Pull())
			pulls++
		default:
			t.Fatalf("stopped at #%d: %s", m.Count(), s)
		}
	}
}

// TestLazy resumes without reading memory, with and without the working set first,
// on both engines: the guest notices nothing.
func TestLazy(t *testing.T) {
	for _, cpus := range []int{1, 4} {
		s := save(t, cpus)
		for _, engine := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
			for _, active := range []bool{false, true} {
				t.Run(fmt.Sprint(cpus, engine, active), func(t *testing.T) {
					f := open(t, s.path)
					var first []uint32
					if active {
						first = machine.WorkingSet(f)
						require.NotEmpty(t, first)
					}
					m, l, err := machine.LoadLazily(f, nil, first)
					require.NoError(t, err)
					defer m.Close()
					m.SetEngine(engine)
					require.Equal(t, s.at, m.Count())
					missing := m.Memory().Missing()
					require.Positive(t, missing)
					pulls := pullTo(t, m, l, s.at+100_000)
					if active {
						require.Less(t, pulls, 40, "the working set was there")
					}
					pullTo(t, m, l, 2*s.at)
					require.Less(t, m.Memory().Missing(), missing)
					require.Equal(t, s.later, hashOf(t, m))
					require.NoError(t, l.All(ctx))
					require.Zero(t, m.Memory().Missing())
					require.Equal(t, s.later, hashOf(t, m))
				})
			}
		}
	}
}

// TestLazySaved: a machine that is not all there yet saves as if it were, at any
// share of it loaded.
func TestLazySaved(t *testing.T) {
	s := save(t, 1)
	r := rand.New(rand.NewPCG(8, 9))
	for _, share := range []int{0, 50, 100} {
		f := open(t, s.path)
		m, l, err := machine.LoadLazily(f, nil, nil)
		require.NoError(t, err)
		defer m.Close()
		gone := m.Memory().Gone(nil)
		for p := range f.Pages() {
			if gone[p>>6]>>(p&63)&1 == 1 && r.IntN(100) < share {
				var b [snapshot.PageSize]byte
				require.NoError(t, f.ReadPage(p, &b))
				m.Memory().FillChecked(p, &b)
			}
		}
		require.Equal(t, share == 100, m.Memory().Missing() == 0)
		require.Equal(t, fmt.Sprintf("%x", f.Root()), hashOf(t, m), "by promised hashes")
		require.NoError(t, l.All(ctx))
		path := filepath.Join(t.TempDir(), "again.gwsnap")
		_, err = m.Save(ctx, snapshot.Disk{}, path, 0, snapshot.Options{})
		require.NoError(t, err)
		again := open(t, path)
		require.Equal(t, f.Root(), again.Root())
		require.NoError(t, again.Verify(ctx))
	}
}

// TestLazyDamage: a page that was altered is named when it is needed, and never
// shown to the guest.
func TestLazyDamage(t *testing.T) {
	s := save(t, 1)
	b, err := os.ReadFile(s.path)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 1))
	refused, named := 0, 0
	for range 60 {
		i := r.IntN(len(b))
		b[i] ^= 4
		require.NoError(t, os.WriteFile(s.path, b, 0o600))
		b[i] ^= 4
		f, err := snapshot.Open(snapshot.Disk{}, s.path)
		if err != nil {
			refused++
			continue
		}
		m, l, err := machine.LoadLazily(f, nil, nil)
		require.NoError(t, err)
		for err == nil && m.Count() < 2*s.at {
			if st := m.Run(2 * s.at); st == machine.Stalled {
				err = l.Pull()
			}
		}
		var alt *snapshot.Altered
		switch {
		case err != nil:
			require.ErrorAs(t, err, &alt)
			named++
		case l.All(ctx) == nil: // the bit was in the images, or a page that came along
			require.Equal(t, s.later, hashOf(t, m))
		default:
			named++
		}
		require.NoError(t, m.Close())
		require.NoError(t, f.Close())
	}
	require.Positive(t, named)
	t.Logf("%d refused at once, %d named when needed", refused, named)
}

// TestLazyOpens counts what is read before the first instruction: the same for a
// file of any size, but for 56 bytes for each 2 MiB of memory.
func TestLazyOpens(t *testing.T) {
	s := save(t, 1)
	c := &counting{}
	f, err := snapshot.Open(c, s.path)
	require.NoError(t, err)
	defer f.Close()
	opened := c.bytes
	m, l, err := machine.LoadLazily(f, nil, nil)
	require.NoError(t, err)
	defer m.Close()
	require.Less(t, c.bytes-opened, 200<<10, "the next instruction's pages, their chunks and blocks")
	require.LessOrEqual(t, pullTo(t, m, l, s.at+1), 2, "its operands' pages")
	require.Less(t, c.bytes-opened, 400<<10)
}

type counting struct {
	snapshot.Disk
	bytes int
}

func (c *counting) Open(path string) (snapshot.ReadFile, error) {
	f, err := c.Disk.Open(path)
	return countingFile{f, c}, err
}

type countingFile struct {
	snapshot.ReadFile
	c *counting
}

func (f countingFile) ReadAt(b []byte, off int64) (int, error) {
	f.c.bytes += len(b)
	return f.ReadFile.ReadAt(b, off)
}
