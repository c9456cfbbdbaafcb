package boot

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	debian "godwit/guest"
	"godwit/machine"
	"godwit/tests/testkit"
)

// i386 makes a guest of one of Debian's 32-bit kernels, which needs apt.
func i386(t testing.TB, kernel string) machine.Images {
	if os.Getenv("CI") != "true" && os.Getenv("GODWIT_FULL") == "" {
		t.Skip("needs the network: CI=true or GODWIT_FULL=1")
	}
	dir := testkit.Guests()
	r, err := debian.Debian(t.Context(), debian.Options{
		Dir: filepath.Join(dir, kernel), Cache: filepath.Join(dir, "cache"), Arch: "i386", Kernel: kernel, Modules: []string{"virtio_blk"},
	})
	require.NoError(t, err)
	return testkit.Images(t, r.Kernel.Path, r.Initrd.Path)
}

// work32 looks around and computes in a 32-bit guest.
const work32 = `godwit.run="uname -m; grep -c pae /proc/cpuinfo; cat /proc/modules | wc -l; sha256sum /bin/busybox; seq 1 500 | md5sum; free -m"`

// Test32BitKernels boots Debian's kernels without and with PAE to their shell
// and off. On the way each is suspended and resumed, with the hash of a run that
// is not.
func Test32BitKernels(t *testing.T) {
	if os.Getenv("GODWIT_FULL") == "" {
		t.Skip("minutes of CPU time: GODWIT_FULL=1")
	}
	for _, kernel := range []string{"linux-image-686", "linux-image-686-pae"} {
		t.Run(kernel, func(t *testing.T) {
			images := i386(t, kernel)
			o := &out{}
			m := newDebian(t, images, work32, o)
			want := map[uint64]string{}
			for _, at := range []uint64{100_000_000, 2_500_000_000} {
				require.Equal(t, machine.Reached, m.Run(at), "%s", tail(o))
				want[at] = hexHash(t, m)
			}
			s := m.Run(20_000_000_000)
			t.Logf("%s at #%d", s, m.Count())
			require.Equal(t, machine.Off, s, "%s", tail(o))
			for _, line := range []string{"GUEST-OK modules rc=0", "i686\r\n1\r\n", "GUEST-OK run rc=0", "Power down"} {
				require.Contains(t, o.String(), line, "%s", tail(o))
			}
			for _, bad := range []string{"Oops", "BUG:", "WARNING:", "Call Trace", "invalid opcode", "segfault"} {
				require.NotContains(t, o.String(), bad, "%s", tail(o))
			}

			v := newDebian(t, images, work32, &out{})
			require.Equal(t, machine.Reached, v.Run(37_654_321))
			v = suspended(t, t.Context(), v)
			require.Equal(t, machine.Reached, v.Run(100_000_000))
			h := hash(t, v)
			require.Equal(t, want[100_000_000], hex.EncodeToString(h[:]))
			for _, at := range []uint64{700_000_001, 1_900_000_003} {
				require.Equal(t, machine.Reached, v.Run(at))
				v = suspended(t, t.Context(), v)
			}
			require.Equal(t, machine.Reached, v.Run(2_500_000_000))
			require.Equal(t, want[2_500_000_000], hexHash(t, v))
		})
	}
}

// Test32BitReference compares the engines over the first counts of a 32-bit
// kernel.
func Test32BitReference(t *testing.T) {
	images := i386(t, "linux-image-686")
	limit := uint64(mark)
	if os.Getenv("GODWIT_FULL") == "" {
		limit = mark / 20
	}
	a := newDebian(t, images, "", &out{})
	b := newDebian(t, images, "", &out{})
	b.SetEngine(machine.EngineReference)
	for n := limit / 4; n <= limit; n += limit / 4 {
		require.Equal(t, machine.Reached, a.Run(n))
		require.Equal(t, machine.Reached, b.Run(n))
		require.Equal(t, dump(t, b), dump(t, a), "at #%d", n)
		require.Equal(t, hash(t, b), hash(t, a), "memory at #%d", n)
	}
}
