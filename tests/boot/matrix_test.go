package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"godwit/machine"
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

// work4 loads every vCPU and compares what comes out.
const work4 = `godwit.run="grep -c ^processor /proc/cpuinfo; for i in 1 2 3 4 5 6; do (dd if=/dev/zero bs=4k count=200 2>/dev/null | sha256sum) & done; wait; free -m | grep Mem"`

// shape is one machine of the matrix.
type shape struct {
	mib  uint64
	cpus int
	pvh  bool
}

func (s shape) String() string {
	return fmt.Sprintf("%dMiB-%dcpu-pvh=%v", s.mib, s.cpus, s.pvh)
}

func (s shape) boot(t testing.TB, images machine.Images, cmdline string) (*machine.Machine, *out) {
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.Append = s.mib<<20, s.cpus, "console=ttyS0 "+cmdline
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

// TestDebianMatrix boots machines that meet each pair of memory size, number of
// vCPUs and boot protocol at least once; GODWIT_FULL boots all of them.
func TestDebianMatrix(t *testing.T) {
	images := guest(t)
	shapes := []shape{{96, 1, true}, {96, 8, false}, {512, 4, true}, {8192, 4, false}, {3072, 8, true}}
	if os.Getenv("GODWIT_FULL") != "" {
		shapes = nil
		for _, mib := range []uint64{96, 512, 3072, 4096, 8192} {
			for _, cpus := range []int{1, 2, 4, 8} {
				shapes = append(shapes, shape{mib, cpus, false}, shape{mib, cpus, true})
			}
		}
	}
	sum := sha256.Sum256(make([]byte, 200*4096))
	for _, s := range shapes {
		t.Run(s.String(), func(t *testing.T) {
			m, o := s.boot(t, images, work4)
			stop := m.Run(20_000_000_000)
			t.Logf("%s at #%d", stop, m.Count())
			require.Equal(t, machine.Off, stop, "%s", tail(o))
			require.Contains(t, o.String(), fmt.Sprintf("\r\n%d\r\n", s.cpus))
			require.Equal(t, 6, bytes.Count(o.Bytes(), []byte(hex.EncodeToString(sum[:])+"  -\r\n")), "%s", tail(o))
			for _, bad := range []string{"Oops", "BUG:", "WARNING:", "Call Trace", "stall", "segfault", "not responding"} {
				require.NotContains(t, o.String(), bad, "%s", tail(o))
			}
			m.Close()
		})
	}
}

// TestDebianSMPHash saves and sends a booting machine of four vCPUs at random
// counts, and compares the engines.
func TestDebianSMPHash(t *testing.T) {
	images := guest(t)
	s := shape{512, 4, false}
	m, _ := s.boot(t, images, "")
	require.Equal(t, machine.Reached, m.Run(mark))
	want := hexHash(t, m)
	m.Close()
	rng := rand.New(rand.NewPCG(9, 9))
	at := make([]uint64, 6)
	if os.Getenv("GODWIT_FULL") != "" {
		at = make([]uint64, 40)
	}
	for i := range at {
		at[i] = rng.Uint64N(mark)
	}
	slices.Sort(at)
	v, _ := s.boot(t, images, "")
	for i, count := range at {
		require.Equal(t, machine.Reached, v.Run(count))
		v.SetEngine(machine.EngineFast)
		switch i % 3 {
		case 0:
			v = suspended(t, context.Background(), v)
		case 1:
			v = sent(t, context.Background(), v)
		default: // a stretch on the reference engine
			v.SetEngine(machine.EngineReference)
			require.Equal(t, machine.Reached, v.Run(min(count+3_000_000, mark)))
			v.SetEngine(machine.EngineFast)
		}
		for i+1 < len(at) && at[i+1] < v.Count() {
			at[i+1] = v.Count()
		}
	}
	require.Equal(t, machine.Reached, v.Run(mark))
	require.Equal(t, want, hexHash(t, v))
	v.Close()
}
