package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/tests/testkit"
)

// vmlinux unpacks the ELF file that a bzImage carries, for a boot by PVH
// [LINUX x86/boot 1.2, payload_offset].
func vmlinux(t testing.TB, bz []byte) []byte {
	setup := 512 * (1 + int(bz[0x1f1]))
	payload := bz[setup+int(binary.LittleEndian.Uint32(bz[0x248:])):]
	payload = payload[:binary.LittleEndian.Uint32(bz[0x24c:])]
	size := binary.LittleEndian.Uint32(payload[len(payload)-4:])
	b, err := io.ReadAll(lz4.NewReader(bytes.NewReader(payload[:len(payload)-4])))
	if err != nil && len(b) < int(size) {
		require.NoError(t, err)
	}
	return b[:size]
}

// matrixWork loads every vCPU and compares what comes out.
const matrixWork = `godwit.run="grep -c ^processor /proc/cpuinfo; for i in 1 2 3 4 5 6; do (dd if=/dev/zero bs=4k count=200 2>/dev/null | sha256sum) & done; wait; free -m | grep Mem"`

// shape is one machine of the matrix.
type shape struct {
	mib  uint64
	cpus int
	pvh  bool
	wall bool
	cpu  string // model; empty is the default
}

func (s shape) String() string {
	return fmt.Sprintf("%dMiB-%dcpu-pvh=%v-wall=%v-%s", s.mib, s.cpus, s.pvh, s.wall, s.cpu)
}

// boot starts a machine in virtual time.
func (s shape) boot(t testing.TB, images machine.Images, cmdline string) (*machine.Machine, *out) {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.Append = s.mib<<20, s.cpus, "console=ttyS0 "+cmdline
	if s.cpu != "" {
		cfg.CPU = s.cpu
	}
	if s.pvh {
		images.Kernel = vmlinux(t, images.Kernel)
	}
	o := &out{}
	m, err := machine.New(cfg, images, o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	return m, o
}

// virtual boots the machine, has it work, and gives what it printed.
func (s shape) virtual(t *testing.T, images machine.Images) string {
	m, o := s.boot(t, images, matrixWork)
	defer m.Close()
	stop := m.Run(20_000_000_000)
	t.Logf("%s at #%d", stop, m.Count())
	require.Equal(t, machine.Off, stop, "%s", tail(o))
	return o.String()
}

// wallTime bounds a boot by the wall clock: it is for hangs, not a measure.
const wallTime = 8 * time.Minute

// program is godwit, built once.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(savedDir, "godwit")
	b, err := exec.Command("go", "build", "-o", path, "godwit/cmd/godwit").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, b)
	}
	return path, err
})

// byCommand is virtual for the wall clock: as users run it, by the command line.
func (s shape) byCommand(t *testing.T, images machine.Images) string {
	godwit, err := program()
	require.NoError(t, err)
	dir := t.TempDir()
	kernel, initrd := filepath.Join(dir, "kernel"), filepath.Join(dir, "initrd")
	if s.pvh {
		images.Kernel = vmlinux(t, images.Kernel)
	}
	require.NoError(t, os.WriteFile(kernel, images.Kernel, 0o600))
	require.NoError(t, os.WriteFile(initrd, images.Initrd, 0o600))
	ctx, cancel := context.WithTimeout(context.Background(), wallTime)
	defer cancel()
	c := exec.CommandContext(ctx, godwit, "run", kernel, "--initrd", initrd, "--clock", "wall", "--ephemeral",
		"-m", fmt.Sprintf("%dM", s.mib), "-c", fmt.Sprint(s.cpus), "--cpu", s.cpu, "--", "console=ttyS0", matrixWork)
	c.Env = append(os.Environ(), "GODWIT_HOME="+filepath.Join(dir, "home"))
	var o, e bytes.Buffer
	c.Stdout, c.Stderr = &o, &e
	require.NoError(t, c.Run(), "%s\n%s", o.String(), e.String())
	require.Empty(t, e.String())
	return o.String()
}

// model is one of the CPU models, the default for multiples of their number.
func model(i int) string {
	all := machine.Models()
	return all[i%len(all)]
}

// matrix are nine machines in which each pair of values of memory size, number
// of vCPUs, boot protocol and clock occurs: the rows of an orthogonal array.
// The CPU models take turns. GODWIT_FULL makes it all combinations, and more values.
func matrix() []shape {
	var shapes []shape
	if os.Getenv("GODWIT_FULL") != "" {
		for i, mib := range []uint64{96, 512, 3072, 4096, 8192} {
			for k, cpus := range []int{1, 2, 4, 8} {
				for n := range 4 {
					if s := (shape{mib, cpus, n&1 != 0, n&2 != 0, model(i + k + n)}); !s.wall || (i+k)%2 == 0 {
						shapes = append(shapes, s)
					}
				}
			}
		}
		return shapes
	}
	for i, mib := range []uint64{96, 3072, 8192} {
		for k, cpus := range []int{1, 4, 8} {
			shapes = append(shapes, shape{mib, cpus, (i+k)%3 == 1, (i+2*k)%3 == 1, model(i + 2*k + 2)})
		}
	}
	return shapes
}

// TestPairs checks that the matrix has every pair.
func TestPairs(t *testing.T) {
	pairs := map[string]bool{}
	for _, s := range matrix() {
		f := [...]string{fmt.Sprint(s.mib), fmt.Sprint(s.cpus), fmt.Sprint(s.pvh), fmt.Sprint(s.wall)}
		for i := range f {
			for k := range i {
				pairs[fmt.Sprint(k, f[k], " ", i, f[i])] = true
			}
		}
	}
	n := func(a, b int) int { return a * b }
	mems, cpus := 3, 3
	if os.Getenv("GODWIT_FULL") != "" {
		mems, cpus = 5, 4
	}
	require.Len(t, pairs, n(mems, cpus)+2*n(mems, 2)+2*n(cpus, 2)+n(2, 2))
}

// TestDebianMatrix boots the matrix.
func TestDebianMatrix(t *testing.T) {
	images := testkit.Debian(t)
	sum := sha256.Sum256(make([]byte, 200*4096))
	for _, s := range matrix() {
		t.Run(s.String(), func(t *testing.T) {
			boot := s.virtual
			if s.wall {
				boot = s.byCommand
			}
			o := boot(t, images)
			require.Contains(t, o, fmt.Sprintf("\r\n%d\r\n", s.cpus))
			require.Equal(t, 6, strings.Count(o, hex.EncodeToString(sum[:])+"  -\r\n"), "%s", o)
			healthy(t, o)
		})
	}
}

// healthy checks that the guest's kernel had nothing to complain of.
func healthy(t *testing.T, o string) {
	for _, bad := range []string{"Oops", "BUG:", "WARNING:", "Call Trace", "stall", "segfault", "not responding", "lockup", "unstable"} {
		require.NotContains(t, o, bad, "%s", o[max(0, len(o)-3000):])
	}
}

// TestSMPLoad keeps four vCPUs busy with work that is theirs alone and with
// processes that wake each other across them, and looks at the accounts.
func TestSMPLoad(t *testing.T) {
	m, a := talk(t, 4,
		`grep ^cpu[0-9] /proc/stat; grep RES: /proc/interrupts`,
		`for c in 0 1 2 3; do taskset $((1<<c)) sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo $i | md5sum > /tmp/sum'$c & done; wait`,
		`for c in 0 1 2 3; do (taskset $((1<<c)) seq 1 700 | taskset $((1<<(3-c))) wc -l) & done; wait`,
		`cat /tmp/sum* | sort -u | wc -l; grep ^cpu[0-9] /proc/stat; grep RES: /proc/interrupts; poweroff -f`)
	start := m.Count()
	require.Equal(t, machine.Off, m.Run(start+10_000_000_000), "%s", tail(&a.out))
	o := a.String()
	t.Logf("%d counts", m.Count()-start)
	healthy(t, o)
	require.Equal(t, 4, strings.Count(o, "\n700\r"), "%s", o)
	require.Contains(t, o, "\n1\r", "all sums are the same")
	for c := range 4 {
		// Hundredths of a second that the vCPU spent in user mode.
		user := numbers(t, o, fmt.Sprintf(`(?m)^cpu%d (\d+) `, c))
		require.Greater(t, user[1], user[0], "cpu%d", c)
	}
	sent := numbers(t, o, `RES: +(\d+) `)
	require.Greater(t, sent[1], sent[0], "rescheduling interrupts")
}

// numbers gives what a pattern finds: twice, before and after.
func numbers(t *testing.T, o, pattern string) [2]int {
	all := regexp.MustCompile(pattern).FindAllStringSubmatch(o, -1)
	require.Len(t, all, 2, "%s in %s", pattern, o)
	var n [2]int
	for i, m := range all {
		var err error
		n[i], err = strconv.Atoi(m[1])
		require.NoError(t, err)
	}
	return n
}
