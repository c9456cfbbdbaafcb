package migrate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/mem"
	"godwit/migrate"
	"godwit/tests/testkit"
)

// debianImages are the Debian kernel and initrd that `make guest` leaves, with
// testdata/writer.c in it as /bin/writer.
func debianImages(t testing.TB) machine.Images {
	im := testkit.Debian(t)
	bin := filepath.Join(t.TempDir(), "writer")
	out, err := exec.Command("gcc", "-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector",
		"-o", bin, "testdata/writer.c").CombinedOutput()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("no gcc that makes a program for the guest: %v", err)
	}
	require.NoError(t, err, "%s", out)
	program, err := os.ReadFile(bin)
	require.NoError(t, err)
	im.Initrd = withFile(im.Initrd, "bin/writer", program)
	return im
}

// withFile appends an archive with one program to an initrd: Linux unpacks one
// after the other [LINUX driver-api/early-userspace/buffer-format].
func withFile(initrd []byte, name string, content []byte) []byte {
	var b bytes.Buffer
	entry := func(name string, mode, size int) {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0)
		b.WriteString(name + "\x00")
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	entry(name, 0o100755, len(content))
	b.Write(content)
	entry("TRAILER!!!", 0, 0)
	padded := append(bytes.Clone(initrd), make([]byte, (4-len(initrd)%4)%4)...)
	return append(padded, b.Bytes()...)
}

// debian is a Debian guest whose writer has begun its third pass, booted once for
// each pattern.
type debian struct {
	once sync.Once
	m    *machine.Machine
	text string
}

var debians = map[string]*debian{"seq": {}, "rand": {}, "page": {}, "alt": {}, "idle": {}}

// newDebian is a fork of the booted guest: memory copied page by page.
func newDebian(t testing.TB, pattern string) *machine.Machine {
	d := debians[pattern]
	d.once.Do(func() { d.boot(t, pattern) })
	require.NotNil(t, d.m, "it did not boot")
	secs, err := d.m.Sections()
	require.NoError(t, err)
	n, err := machine.FromSections(secs, newVM())
	require.NoError(t, err)
	for p := range d.m.Memory().Pages() {
		if d.m.Memory().Present(p) {
			require.NoError(t, n.Memory().Restore(p, d.m.Memory().Bytes()[uint64(p)<<12:][:4096]))
		}
	}
	require.NoError(t, n.Restore(secs))
	return n
}

func (d *debian) boot(t testing.TB, pattern string) {
	cfg := machine.DefaultConfig()
	cfg.Memory = 256 << 20
	run, want := "writer 24 "+pattern, "writer: pass 2"
	if pattern == "idle" {
		run, want = "sleep 1000000", "GUEST-OK init"
	}
	cfg.Append = fmt.Sprintf("console=ttyS0 quiet godwit.run=%q", run)
	v := newVM()
	m, err := machine.New(cfg, debianImages(t), v)
	require.NoError(t, err)
	require.NoError(t, m.Boot())
	for !strings.Contains(v.text(), want) {
		require.Less(t, m.Count(), uint64(3e9), "%s", v.text())
		require.Equal(t, machine.Reached, m.Run(m.Count()+5_000_000))
	}
	m.Run(m.Count() + 30_000_000)
	d.m, d.text = m, v.text()
}

// TestDebian moves a guest in the middle of writing an array by every strategy.
func TestDebian(t *testing.T) {
	patterns := []string{"seq"}
	if full {
		patterns = []string{"seq", "rand", "page", "alt", "idle"}
	}
	for _, mode := range []migrate.Mode{migrate.ModeStop, migrate.ModePre, migrate.ModePost, migrate.ModeHybrid, migrate.ModeAuto} {
		for _, pattern := range patterns {
			t.Run(fmt.Sprintf("%s/%s", mode, pattern), func(t *testing.T) {
				j := newJourney(t, newDebian(t, pattern), migrate.Options{Mode: mode, Observe: 100 * time.Millisecond})
				sent, got, err := j.travel()
				require.NoError(t, err)
				require.Equal(t, sent.Root, got.Root)
				j.same(sent)
				require.NotContains(t, j.to.text(), "CORRUPT")
			})
		}
	}
}

// TestDebianAbsent runs forks whose memory comes on demand.
func TestDebianAbsent(t *testing.T) {
	for _, engine := range []machine.Engine{machine.EngineFast, machine.EngineReference} {
		t.Run(fmt.Sprint("engine ", engine), func(t *testing.T) {
			source := newDebian(t, "seq")
			defer source.Close()
			secs, err := source.Sections()
			require.NoError(t, err)
			n, err := machine.FromSections(secs, newVM())
			require.NoError(t, err)
			defer n.Close()
			n.SetEngine(engine)
			leaves := source.Memory().Leaves()
			require.NoError(t, n.Memory().Absent(source.Memory().Written(nil), func(p uint32) [16]byte { return leaves[p] }))
			require.NoError(t, n.Restore(secs))
			require.Equal(t, hash(t, source), hash(t, n))
			missing, rng := n.Memory().Missing(), rand.New(rand.NewPCG(1, 2))
			fill := func(p uint32) {
				require.NoError(t, n.Memory().Fill(p, source.Memory().Bytes()[uint64(p)<<12:][:4096]))
			}
			end := source.Count() + 20_000_000
			stalls := 0
			for ; n.Run(end) == machine.Stalled; stalls++ {
				require.Equal(t, mem.PageAbsent, n.Stall().Why)
				fill(n.Stall().Page)
				for range rng.IntN(3) {
					fill(rng.Uint32N(n.Memory().Pages()))
				}
			}
			twin := newDebian(t, "seq")
			defer twin.Close()
			twin.Run(end)
			require.Equal(t, hash(t, twin), hash(t, n), "%d of %d pages are still missing", n.Memory().Missing(), missing)
			t.Logf("%d stalls, %d of %d pages still missing", stalls, n.Memory().Missing(), missing)
			require.Positive(t, stalls)
		})
	}
}
