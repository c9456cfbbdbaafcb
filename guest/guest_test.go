package guest

import (
	"archive/tar"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// golden is the initramfs of the synthetic packages: inode, mode, links, name.
const golden = `1 040755 2 bin
2 100755 1 bin/busybox 12
3 120777 1 bin/sh -> busybox
4 040755 2 dev
5 040755 2 etc
6 100644 1 etc/modules 41
7 100755 1 init INIT
8 040755 2 lib
9 040755 2 lib/modules
10 040755 2 lib/modules/6.1.0-9-cloud-amd64
11 040755 2 lib/modules/6.1.0-9-cloud-amd64/kernel
12 040755 2 lib/modules/6.1.0-9-cloud-amd64/kernel/drivers
13 040755 2 lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/char
14 100644 1 lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/char/virtio-rng.ko 318
15 040755 2 lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/virtio
16 100644 1 lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/virtio/virtio.ko 298
17 100644 1 lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/virtio/virtio_pci.ko 293
18 100644 1 lib/modules/6.1.0-9-cloud-amd64/kernel/drivers/virtio/virtio_ring.ko 292
19 100644 1 lib/modules/6.1.0-9-cloud-amd64/modules.dep 318
20 040755 2 proc
21 040755 2 sys
`

func TestSamePackagesGiveSameBytes(t *testing.T) {
	first := ""
	for _, suffix := range []string{".xz", ".zst", ".gz", ""} {
		t.Run("data.tar"+suffix, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "dir")
			r, err := Debian(t.Context(), Options{Dir: dir, Debs: debs(t, suffix)})
			require.NoError(t, err)
			initrd, err := os.ReadFile(filepath.Join(dir, InitrdFile))
			require.NoError(t, err)
			require.Equal(t, strings.Replace(golden, "INIT", strconv.Itoa(len(defaultInit)), 1), listing(t, initrd))
			require.Equal(t, r.Initrd.SHA256, hashBytes(initrd))
			if first == "" {
				first = r.Initrd.SHA256
			}
			require.Equal(t, first, r.Initrd.SHA256)
			kernel, err := os.ReadFile(r.Kernel.Path)
			require.NoError(t, err)
			require.Equal(t, bzImage("one"), string(kernel))
			require.Equal(t, release, r.Release)
			require.Equal(t, []string{"virtio_ring", "virtio", "virtio_pci", "virtio_rng"}, r.Modules)
			require.Equal(t, imageName, r.Packages[1].Name)
			require.Equal(t, shellVersion, r.Packages[0].Version)
		})
	}
}

func TestFolderThatHasItIsLeftAlone(t *testing.T) {
	o := Options{Dir: t.TempDir(), Debs: debs(t, "")}
	r, err := Debian(t.Context(), o)
	require.NoError(t, err)
	require.False(t, r.Unchanged)
	again, err := Debian(t.Context(), o)
	require.NoError(t, err)
	require.True(t, again.Unchanged)
	again.Unchanged = false
	require.Equal(t, r, again)

	write(t, filepath.Join(o.Dir, InitrdFile), []byte("altered"))
	again, err = Debian(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, r, again, "an altered file is made anew")

	o.Modules = []string{}
	again, err = Debian(t.Context(), o)
	require.NoError(t, err)
	require.False(t, again.Unchanged)
	require.Empty(t, again.Modules)
	initrd, err := os.ReadFile(again.Initrd.Path)
	require.NoError(t, err)
	require.NotContains(t, listing(t, initrd), "modules")
}

func TestModules(t *testing.T) {
	files := debs(t, "")
	for _, tt := range []struct{ ask, want, fails string }{
		{"virtio_rng", "virtio_ring virtio virtio_pci virtio_rng", ""},
		{"virtio-rng", "virtio_ring virtio virtio_pci virtio_rng", ""},
		{"virtio_ring", "virtio_ring", ""},
		{"ext4", "", ""},
		{"odd crc16", "crc_soft odd", ""},
		{"one", "two one", ""}, // a cycle must end
		{"nonesuch", "", CodeNotFound},
		{"lost", "", CodeAltered},
	} {
		t.Run(tt.ask, func(t *testing.T) {
			r, err := Debian(t.Context(), Options{Dir: t.TempDir(), Debs: files, Modules: strings.Fields(tt.ask)})
			require.Equal(t, tt.fails, code(err), "%v", err)
			if err == nil {
				require.Equal(t, tt.want, strings.Join(r.Modules, " "))
			}
		})
	}
}

func TestModulesDepNamesWhatComesBefore(t *testing.T) {
	m := newModules()
	for path, deps := range map[string]string{"a.ko.xz": "b,c", "b.ko": "c", "c.ko": ""} {
		require.NoError(t, m.add(path, []byte(elfWith("depends="+deps))))
	}
	order, err := m.closure([]string{"a"}, true)
	require.NoError(t, err)
	require.Equal(t, []string{"c", "b", "a"}, order)
	require.Equal(t, "c.ko:\nb.ko: c.ko\na.ko: b.ko c.ko\n", string(m.dep(order)))
}

func TestCompressedModulesAreUnpacked(t *testing.T) {
	for _, suffix := range []string{".xz", ".zst", ".gz"} {
		ko := elfWith("depends=")
		entries := []entry{
			{name: "./boot/vmlinuz-" + release, data: bzImage("")},
			{name: "./usr/lib/modules/" + release + "/kernel/m.ko" + suffix, data: string(packed(t, suffix, []byte(ko)))},
		}
		files := debs(t, "")
		write(t, files[0], debOf(t, ".xz", control(imageName, "1", ""), entries))
		r, err := Debian(t.Context(), Options{Dir: t.TempDir(), Debs: files, Modules: []string{"m"}})
		require.NoError(t, err)
		initrd, err := os.ReadFile(r.Initrd.Path)
		require.NoError(t, err)
		require.Contains(t, listing(t, initrd), "/kernel/m.ko 275\n", suffix)
		require.Contains(t, string(initrd), ko)
	}
}

func TestAdd(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "hello")
	write(t, script, []byte("#!/bin/sh\necho hello\n"))
	write(t, filepath.Join(dir, "busybox"), []byte("#!/bin/sh\n"))
	write(t, filepath.Join(dir, "text"), []byte("text\n"))
	write(t, filepath.Join(dir, "with space"), []byte("#!/bin/sh\n"))
	write(t, filepath.Join(dir, "again", "hello"), []byte("#!/bin/sh\n"))
	write(t, filepath.Join(dir, "arm"), elfProgram(183, 1))
	write(t, filepath.Join(dir, "dynamic"), elfProgram(62, 3))
	write(t, filepath.Join(dir, "static"), elfProgram(62, 1))
	at := func(names ...string) (out []string) {
		for _, n := range names {
			out = append(out, filepath.Join(dir, n))
		}
		return out
	}
	for _, tt := range []struct {
		name string
		add  []string
		want string
	}{
		{"script and program", at("hello", "static"), ""},
		{"another processor", at("arm"), CodeIncompatible},
		{"dynamic", at("dynamic"), CodeUsage},
		{"neither", at("text"), CodeUsage},
		{"directory", at("again"), CodeUsage},
		{"taken", at("busybox"), CodeUsage},
		{"twice", at("hello", "again/hello"), CodeUsage},
		{"space", at("with space"), CodeUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Debian(t.Context(), Options{Dir: t.TempDir(), Debs: debs(t, ""), Add: tt.add, Init: script})
			require.Equal(t, tt.want, code(err), "%v", err)
			if err != nil {
				return
			}
			initrd, err := os.ReadFile(r.Initrd.Path)
			require.NoError(t, err)
			l := listing(t, initrd)
			require.Contains(t, l, " 100755 1 bin/hello 21\n")
			require.Contains(t, l, " 100755 1 bin/static 120\n")
			require.Contains(t, l, " 100755 1 init 21\n")
		})
	}
	_, err := Debian(t.Context(), Options{Dir: t.TempDir(), Debs: debs(t, ""), Add: at("none")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// elfProgram is a program header of a type for a machine, and no more.
func elfProgram(machine, kind byte) []byte {
	b := make([]byte, 120)
	copy(b, "\x7fELF\x02\x01\x01")
	b[16], b[18], b[20], b[32], b[52], b[54], b[56], b[58] = 2, machine, 1, 64, 64, 56, 1, 64
	b[64] = kind
	return b
}

func TestDamagedPackages(t *testing.T) {
	good := debOf(t, ".xz", control(imageName, "1", ""), imageEntries())
	image := func(entries ...entry) []byte { return debOf(t, "", control(imageName, "1", ""), entries) }
	kernel := entry{name: "./boot/vmlinuz-" + release, data: bzImage("")}
	ko := "./lib/modules/" + release + "/m.ko"
	many := make([][2]string, maxMembers+1)
	for i := range many {
		many[i] = [2]string{"debian-binary", "2.0\n"}
	}
	for _, tt := range []struct {
		name string
		deb  []byte
		why  string
	}{
		{"empty", nil, "no ar archive"},
		{"half", good[:len(good)/2], "bytes"},
		{"no members", []byte(arMagic), "debian-binary"},
		{"many members", arOf(many...), "members"},
		{"format 3", arOf([2]string{"debian-binary", "3.0\n"}, [2]string{"control.tar", ""}, [2]string{"data.tar", ""}), "not 2.x"},
		{"no data", arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar", ""}, [2]string{"x", ""}), "data.tar"},
		{"huge member", []byte(strings.Replace(string(good), "4         `", "999999999 `", 1)), "are left"},
		{"negative member", []byte(strings.Replace(string(good), "4         `", "-4        `", 1)), "is none"},
		{"unknown compression", arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar.lzma", ""}, [2]string{"data.tar", ""}), "not known"},
		{"no control", arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar", string(tarOf(t, nil))}, [2]string{"data.tar", ""}), "control file"},
		{"traversal", image(entry{name: "./../../etc/passwd", data: "x"}), "passwd"},
		{"traversal inside", image(kernel, entry{name: "./lib/modules/" + release + "/../../../x.ko", data: "x"}), "x.ko"},
		{"absolute", image(entry{name: "/boot/vmlinuz-1", data: "x"}), "vmlinuz"},
		{"backslash", image(entry{name: `.\boot`, data: "x"}), "boot"},
		{"kernel is a symlink", image(entry{name: kernel.name, kind: tar.TypeSymlink, link: "/etc/passwd"}), "no boot/vmlinuz"},
		{"kernel is a hard link", image(entry{name: kernel.name, kind: tar.TypeLink, link: "/etc/passwd"}), "no boot/vmlinuz"},
		{"kernel is none", image(entry{name: kernel.name, data: "text"}), "no bzImage"},
		{"two kernels", image(kernel, entry{name: "./boot/vmlinuz-2", data: bzImage("")}), "vmlinuz-2"},
		{"kernel in a folder", image(entry{name: "./boot/vmlinuz-a/b", data: bzImage("")}), "vmlinuz-a/b"},
		{"module is none", image(kernel, entry{name: ko, data: "text"}), "ELF"},
		{"module lies", image(kernel, entry{name: ko, data: elfWith("x")[:100]}), "outside"},
		{"tar is none", arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar", string(tarOf(t, []entry{{name: "control", data: control(imageName, "1", "")}}))},
			[2]string{"data.tar", strings.Repeat("x", 1024)}), "header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			files := debs(t, "")
			write(t, files[0], tt.deb)
			_, err := Debian(t.Context(), Options{Dir: filepath.Join(dir, "g"), Debs: files})
			require.ErrorContains(t, err, tt.why)
			require.Equal(t, CodeAltered, code(err), "%v", err)
			require.NotContains(t, err.Error(), packageDamaged, "it does not say which")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left, "something was written")
		})
	}
}

func TestBombsAreNotUnpacked(t *testing.T) {
	zeros := packed(t, ".zst", make([]byte, 9*maxControl))
	deb := arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar.zst", string(zeros)}, [2]string{"data.tar", ""})
	big := tarOf(t, []entry{{name: "control"}})
	copy(big[124:], "00400000000\x00") // 64 MiB
	sum := 0
	copy(big[148:156], "        ")
	for _, c := range big[:512] {
		sum += int(c)
	}
	copy(big[148:], []byte{byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0})
	huge := arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar", string(big)}, [2]string{"data.tar", ""})
	for _, b := range [][]byte{deb, huge} {
		name := filepath.Join(t.TempDir(), "x.deb")
		write(t, name, b)
		_, err := localRecord(t.Context(), name, DefaultArch)
		require.Equal(t, CodeAltered, code(err), "%v", err)
	}
}

func TestUsage(t *testing.T) {
	files := debs(t, "")
	other := filepath.Join(t.TempDir(), "arm.deb")
	write(t, other, debOf(t, "", strings.Replace(control("x", "1", ""), "amd64", "arm64", 1), nil))
	second := filepath.Join(t.TempDir(), "second.deb")
	write(t, second, debOf(t, "", control(imagePrefix+"2", "1", ""), imageEntries()))
	meta := filepath.Join(t.TempDir(), "meta.deb")
	write(t, meta, debOf(t, "", control(defaultKernel, "1", "Depends: "+imageName+"\n"), nil))
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"a metapackage among them", Options{Debs: append(files, meta)}, ""},
		{"one of several kernels", Options{Debs: append(files, second), Kernel: imageName}, ""},
		{"by the metapackage", Options{Debs: append(files, meta), Kernel: defaultKernel}, ""},
		{"several kernels", Options{Debs: append(files, second)}, CodeUsage},
		{"no kernel", Options{Debs: files[1:]}, CodeUsage},
		{"no shell", Options{Debs: files[:1]}, CodeUsage},
		{"another architecture", Options{Debs: append(files, other)}, CodeIncompatible},
		{"mirror and files", Options{Debs: files, Mirrors: []string{"http://x"}}, CodeUsage},
		{"mirror without trust", Options{Mirrors: []string{"http://127.0.0.1:1"}}, CodeUsage},
		{"fewer hashes than mirrors", Options{Mirrors: []string{"http://x", "http://y"}, ReleaseSHA256: []string{"0"}}, CodeUsage},
		{"no hash", Options{Mirrors: []string{"http://x"}, ReleaseSHA256: []string{"0"}}, CodeUsage},
		{"no address", Options{Mirrors: []string{"x"}, TrustMirror: true}, CodeUsage},
		{"trust in nothing", Options{TrustMirror: true}, CodeUsage},
		{"unreachable", Options{Mirrors: []string{"http://127.0.0.1:1"}, TrustMirror: true}, CodeUnreachable},
		{"suite is a path", Options{Mirrors: []string{"http://x"}, TrustMirror: true, Suite: "../x"}, CodeUsage},
		{"kernel is an option", Options{Kernel: "-oDir=/"}, CodeUsage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Dir, tt.o.Cache = t.TempDir(), t.TempDir()
			_, err := Debian(t.Context(), tt.o)
			require.Equal(t, tt.want, code(err), "%v", err)
			if tt.want == "" {
				require.NoError(t, err)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Debian(ctx, Options{Dir: t.TempDir(), Debs: debs(t, "")})
	require.ErrorIs(t, err, context.Canceled)
}

func TestInitHasNoCarriageReturns(t *testing.T) {
	assert.NotContains(t, string(defaultInit), "\r", "on "+runtime.GOOS)
	assert.True(t, strings.HasPrefix(string(defaultInit), "#!/bin/busybox sh\n"))
}
