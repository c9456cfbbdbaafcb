//go:build linux && amd64

// Package programs runs real programs in a guest and on the host, from the same
// files, and compares what they print.
package programs

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/devices"
	"godwit/guest"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/tests/testkit"
)

// out is a host that collects what the guest prints.
type out struct{ bytes.Buffer }

func (o *out) Poll() bool              { return false }
func (o *out) Idle(devices.Nanos) bool { return true }
func (o *out) Output(b byte)           { o.WriteByte(b) }

// full tells whether the long forms run.
func full() bool { return os.Getenv("GODWIT_FULL") != "" }

// programs are the test programs, which the guest finds in its /bin.
var programs = []string{"gcc", "sqlite", "python", "openssl"}

// debian makes the guest that has them, of Debian's packages, once.
var debian = sync.OnceValues(func() (*guest.Result, error) {
	o := guest.Options{
		Dir: filepath.Join(testkit.Guests(), "programs"), Cache: filepath.Join(testkit.Guests(), "cache"), Modules: []string{},
		Install: []string{"gcc", "libc6-dev", "sqlite3", "python3", "openssl", "stress-ng"},
		Omit:    []string{"lto1", "*-lto-dump-*", "lib[alt]san.*", "libubsan.*", "libgprofng.*"},
	}
	for _, p := range programs {
		o.Add = append(o.Add, "testdata/test-"+p)
	}
	return guest.Debian(context.Background(), o)
})

// images reads the guest's files. Without apt, or where nobody asked for what
// needs the network, the test is left out.
func images(t testing.TB) (machine.Images, *guest.Result) {
	if os.Getenv("CI") != "true" && !full() {
		t.Skip("needs the network: CI=true or GODWIT_FULL=1")
	}
	r, err := debian()
	require.NoError(t, err)
	return testkit.Images(t, r.Kernel.Path, r.Initrd.Path), r
}

// atPrompt boots the guest until its shell asks for a command.
func atPrompt(t testing.TB, cpus int) *machine.Machine {
	im, _ := images(t)
	cfg := machine.DefaultConfig()
	cfg.Memory, cfg.CPUs, cfg.Append = 1<<30, cpus, "console=ttyS0 quiet"
	o := &out{}
	m, err := machine.New(cfg, im, o)
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	require.NoError(t, m.Boot())
	runUntil(t, m, o, "# ", 6_000_000_000)
	return m
}

// runUntil runs until the guest has printed want.
func runUntil(t testing.TB, m *machine.Machine, o *out, want string, most uint64) {
	for end := m.Count() + most; !strings.Contains(o.String(), want); {
		s := m.Run(m.Count() + 10_000_000)
		require.Equal(t, machine.Reached, s, "%s", tail(o))
		require.Less(t, m.Count(), end, "no %q after %d counts: %s", want, most, tail(o))
	}
}

func tail(o *out) string {
	s := o.String()
	return s[max(0, len(s)-3000):]
}

// saved writes a machine to a file, from which every test gets its own.
func saved(t *testing.T, m *machine.Machine) string {
	path := filepath.Join(t.TempDir(), "prompt.gw")
	_, err := m.Save(t.Context(), snapshot.Disk{}, path, 0, snapshot.Options{Codec: snapshot.S2})
	require.NoError(t, err)
	return path
}

func resumed(t *testing.T, path string) (*machine.Machine, *out) {
	m, o := loaded(t, path)
	t.Cleanup(func() { m.Close() })
	return m, o
}

// loaded is resumed, but that the caller closes the machine.
func loaded(t *testing.T, path string) (*machine.Machine, *out) {
	f, err := snapshot.Open(snapshot.Disk{}, path)
	require.NoError(t, err)
	defer f.Close()
	o := &out{}
	m, err := machine.Load(t.Context(), f, o)
	require.NoError(t, err)
	return m, o
}

// typed runs a command at the prompt and returns what it printed.
func typed(t testing.TB, m *machine.Machine, o *out, cmd string, most uint64) string {
	m.Input(machine.InputConsole, []byte(cmd+";echo DONE=$?\r"))
	for end := m.Count() + most; ; {
		s := m.Run(m.Count() + 10_000_000)
		require.Equal(t, machine.Reached, s, "%s", tail(o))
		text := strings.ReplaceAll(o.String(), "\r\n", "\n")
		if at := strings.LastIndex(text, "DONE="); at >= 0 && strings.HasPrefix(text[at:], "DONE=0\n") {
			_, text, _ = strings.Cut(text[:at], "\n") // the command's echo
			return text
		} else if at >= 0 && !strings.HasPrefix(text[at:], "DONE=$") && strings.HasSuffix(text, "# ") {
			require.Fail(t, "the command failed", "%s: %s", cmd, tail(o))
		}
		require.Less(t, m.Count(), end, "%s takes more than %d counts: %s", cmd, most, tail(o))
	}
}

// onHost runs a command in the guest's files on the host.
func onHost(t *testing.T, dir, cmd string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "/bin/busybox", "sh", "-c", cmd)
	c.Dir, c.Env = "/", []string{"PATH=/bin", "HOME=/", "TERM=vt100", "PWD=/"}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: dir}
	if os.Getuid() != 0 { // a user may change the root in a namespace of his own
		c.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	b, err := c.CombinedOutput()
	require.NoError(t, err, "%s", b)
	return string(b)
}

// unpack writes an initramfs to a folder, as the kernel does
// [LINUX driver-api/early-userspace/buffer-format].
func unpack(t *testing.T, b []byte) string {
	dir := t.TempDir()
	for {
		require.GreaterOrEqual(t, len(b), 110)
		field := func(i int) int {
			v, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
			require.NoError(t, err)
			return int(v)
		}
		mode, size, name := field(1), field(6), string(b[110:110+field(11)-1])
		start := (110 + field(11) + 3) &^ 3
		data := b[start : start+size]
		b = b[(start+size+3)&^3:]
		if name == "TRAILER!!!" {
			break
		}
		at := filepath.Join(dir, name)
		switch mode & syscall.S_IFMT {
		case syscall.S_IFDIR:
			require.NoError(t, os.Mkdir(at, 0o755))
		case syscall.S_IFLNK:
			require.NoError(t, os.Symlink(string(data), at))
		default:
			require.NoError(t, os.WriteFile(at, data, os.FileMode(mode&0o777)))
		}
	}
	// What the guest's /init makes: applets by name, /tmp and /dev/null.
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "tmp"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dev/null"), nil, 0o666))
	onHost(t, dir, "/bin/busybox --install -s /bin")
	return dir
}
