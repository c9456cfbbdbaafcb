package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func packages(t testing.TB, imageVersion string) map[string][]byte {
	return map[string][]byte{
		"pool/image.deb": debOf(t, ".xz", control(imageName, imageVersion, ""), imageEntries()),
		"pool/shell.deb": debOf(t, ".xz", control(shellPackage, shellVersion, ""), shellEntries()),
	}
}

func TestMirror(t *testing.T) {
	a := newArchive(t)
	hash := a.publish(t, "/debian", "bookworm", packages(t, "6.1.9-1"), metaStanza)
	o := Options{Dir: t.TempDir(), Cache: t.TempDir(), Mirrors: []string{a.URL + "/debian/"}, ReleaseSHA256: []string{strings.ToUpper(hash)}}
	r, err := Debian(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, a.URL+"/debian bookworm", r.Packages[0].From)

	o.Dir = t.TempDir()
	o.ReleaseSHA256, o.TrustMirror = nil, true
	again, err := Debian(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, r.Initrd.SHA256, again.Initrd.SHA256)
	require.Equal(t, 1, a.hits["/debian/pool/image.deb"], "the second time it is cached")

	cached := cache(o.Cache).path(record{name: imageName, version: "6.1.9-1", sha256: r.Packages[1].SHA256})
	write(t, cached, []byte("altered"))
	o.Dir = t.TempDir()
	_, err = Debian(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 2, a.hits["/debian/pool/image.deb"], "what was altered is fetched anew")
	left, err := os.ReadDir(o.Cache)
	require.NoError(t, err)
	require.Len(t, left, 2, "temporary files are left")
}

func TestMirrorOfSecurityUpdates(t *testing.T) {
	a := newArchive(t)
	base := a.publish(t, "/debian", "bookworm", packages(t, "6.1.9-1"), metaStanza)
	newer := packages(t, "6.1.10-1")
	delete(newer, "pool/shell.deb")
	security := a.publish(t, "/debian-security", "bookworm-security", newer, strings.ReplaceAll(metaStanza, "6.1.9-1", "6.1.10-1"))
	o := Options{Dir: t.TempDir(), Cache: t.TempDir(), Mirrors: []string{a.URL + "/debian", a.URL + "/debian-security"}, ReleaseSHA256: []string{base, security}}
	r, err := Debian(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "6.1.10-1", r.Packages[1].Version, "9 comes before 10")
	require.Contains(t, r.Packages[1].From, "bookworm-security")
}

func TestMirrorThatLies(t *testing.T) {
	index, rel := "/debian/dists/bookworm/"+indexFile(DefaultArch), "/debian/dists/bookworm/Release"
	edit := func(a *archive, file, old, to string) {
		b := a.files[file]
		if !bytes.Contains(b, []byte(old)) {
			panic("nothing to edit in " + file)
		}
		a.files[file] = bytes.Replace(b, []byte(old), []byte(to), 1)
	}
	for _, tt := range []struct {
		name  string
		spoil func(*archive)
		trust bool
		want  string
	}{
		{"release", func(a *archive) { edit(a, rel, "Debian", "debian") }, false, CodeAltered},
		{"release of another suite", func(a *archive) { edit(a, rel, "bookworm", "trixie") }, true, CodeAltered},
		{"release without hashes", func(a *archive) { edit(a, rel, "SHA256", "SHA512") }, true, CodeAltered},
		{"release without index", func(a *archive) { edit(a, rel, "Packages.xz", "Packages.gz") }, true, CodeAltered},
		{"release too long", func(a *archive) { a.files[rel] = make([]byte, maxRelease+1) }, true, CodeAltered},
		{"no release", func(a *archive) { delete(a.files, rel) }, true, CodeNotFound},
		{"index", func(a *archive) { a.files[index][20] ^= 1 }, true, CodeAltered},
		{"index too long", func(a *archive) { a.files[index] = append(a.files[index], 0) }, true, CodeAltered},
		{"package", func(a *archive) { a.files["/debian/pool/shell.deb"][100] ^= 1 }, true, CodeAltered},
		{"package too long", func(a *archive) { a.files["/debian/pool/shell.deb"] = make([]byte, 1<<20) }, true, CodeAltered},
		{"package too short", func(a *archive) { a.files["/debian/pool/shell.deb"] = nil }, true, CodeAltered},
		{"no package", func(a *archive) { delete(a.files, "/debian/pool/image.deb") }, true, CodeNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newArchive(t)
			o := Options{Dir: t.TempDir(), Cache: t.TempDir(), Mirrors: []string{a.URL + "/debian"}, TrustMirror: tt.trust}
			hash := a.publish(t, "/debian", "bookworm", packages(t, "6.1.9-1"), metaStanza)
			if !tt.trust {
				o.ReleaseSHA256 = []string{hash}
			}
			tt.spoil(a)
			_, err := Debian(t.Context(), o)
			require.Equal(t, tt.want, code(err), "%v", err)
			left, err := os.ReadDir(o.Dir)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestIndexThatLies(t *testing.T) {
	for _, tt := range []struct{ old, to string }{
		{"pool/shell.deb", "../../etc/passwd"},
		{"pool/shell.deb", "/etc/passwd"},
		{shellVersion, "../../x"},
		{"Architecture: amd64", "Architecture: arm64"},
		{"SHA256: ", "SHA256: x"},
		{"Size: ", "Size: -"},
		{"\nSHA256", "SHA256"},
		{"\n\n", "\n" + strings.Repeat("x", maxLine+1)},
	} {
		a := newArchive(t)
		deb := packages(t, "6.1.9-1")["pool/shell.deb"]
		name := filepath.Join(t.TempDir(), "x.deb")
		write(t, name, deb)
		a.publish(t, "/debian", "bookworm", map[string][]byte{"pool/shell.deb": deb}, "")
		z, err := newXZ(bytes.NewReader(a.files["/debian/dists/bookworm/"+indexFile(DefaultArch)]))
		require.NoError(t, err)
		var text bytes.Buffer
		_, err = text.ReadFrom(z)
		require.NoError(t, err)
		require.Contains(t, text.String(), tt.old)
		a.publish(t, "/debian", "bookworm", nil, strings.Replace(text.String(), tt.old, tt.to, 1))
		m, err := newMirror(cache(t.TempDir()), a.URL+"/debian", "bookworm", DefaultArch, "")
		require.NoError(t, err)
		r, err := newest(t.Context(), m, shellPackage, "", DefaultArch)
		if err == nil {
			_, err = m.open(t.Context(), r)
		}
		require.Contains(t, []string{CodeAltered, CodeNotFound}, code(err), "%q: %v", tt.to, err)
	}
}

// fakeApt answers as apt does.
type fakeApt struct {
	t     *testing.T
	debs  map[string][]byte
	fails error
}

const madison = `linux-image-cloud-amd64 |  6.1.9-1 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
linux-image-cloud-amd64 |  6.1.8-1 | http://mirror.example/debian bookworm/main amd64 Packages
linux-image-cloud-amd64 |  6.12.1-1 | http://mirror.example/debian trixie/main amd64 Packages
linux-image-cloud-amd64 |  6.1.8-1 | http://mirror.example/debian bookworm/main Sources
linux-image-6.1.0-9-cloud-amd64 | 6.1.9-1 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
busybox-static | 1:1.35.0-4 | http://mirror.example/debian bookworm/main amd64 Packages
`

const simulation = `Reading package lists...
Inst lib (2:1.0-1 Debian:12.5/stable [amd64])
Conf lib (2:1.0-1 Debian:12.5/stable [amd64])
Inst prog:amd64 (1.5 Debian:12.5/stable [amd64]) []
Conf prog:amd64 (1.5 Debian:12.5/stable [amd64])
`

// libEntries and progEntries are packages that depend on each other.
func libEntries() []entry {
	return []entry{
		{name: "./", kind: tar.TypeDir},
		{name: "./lib/x86_64-linux-gnu/libl.so.1", data: "old path"},
		{name: "./usr/lib/x86_64-linux-gnu/libm.so", data: "new path"},
		{name: "./usr/share/doc/lib/README", data: "text"},
		{name: "./usr/share/man/man1/l.1", kind: tar.TypeLink, link: "./nonesuch"},
	}
}

func progEntries() []entry {
	return []entry{
		{name: "./usr/bin/prog", data: "\x7fELF prog"},
		{name: "./usr/bin/alias", kind: tar.TypeSymlink, link: "prog"},
		{name: "./usr/bin/same", kind: tar.TypeLink, link: "./usr/bin/prog"},
		{name: "./dev/null", kind: tar.TypeChar},
		{name: "./var/lib/prog/", kind: tar.TypeDir},
	}
}

const installed = `1 120777 1 bin -> usr/bin
2 040755 2 dev
3 040755 2 etc
4 100644 1 etc/modules 41
5 100755 1 init INIT
6 120777 1 lib -> usr/lib
7 040755 2 proc
8 040755 2 sys
9 040755 2 usr
10 040755 2 usr/bin
11 120777 1 usr/bin/alias -> prog
12 100755 1 usr/bin/busybox 12
13 100644 1 usr/bin/prog 9
14 100644 1 usr/bin/same 9
15 120777 1 usr/bin/sh -> busybox
16 040755 2 usr/lib
`

func TestInstall(t *testing.T) {
	p := packages(t, "6.1.9-1")
	f := &fakeApt{t: t, debs: map[string][]byte{
		imageName: p["pool/image.deb"], shellPackage: p["pool/shell.deb"], defaultKernel: nil,
		"lib":  debOf(t, ".xz", control("lib", "2:1.0-1", ""), libEntries()),
		"prog": debOf(t, ".gz", control("prog", "1.5", ""), progEntries()),
	}}
	a := &apt{cache: cache(t.TempDir()), suite: "bookworm", arch: DefaultArch, run: f.run}
	o := Options{Dir: t.TempDir(), Suite: "bookworm", Arch: DefaultArch, Kernel: defaultKernel, Install: []string{"prog"}}
	r, err := o.make(t.Context(), a)
	require.NoError(t, err)
	require.Len(t, r.Packages, 4)
	initrd, err := os.ReadFile(r.Initrd.Path)
	require.NoError(t, err)
	l := listing(t, initrd)
	require.Equal(t, strings.Replace(installed, "INIT", strconv.Itoa(len(defaultInit)), 1), l[:strings.Index(l, "17 ")])
	for _, want := range []string{
		" usr/lib/x86_64-linux-gnu/libl.so.1 8\n", " usr/lib/x86_64-linux-gnu/libm.so 8\n", " 040644 2 var/lib/prog 0\n",
		" usr/lib/modules/6.1.0-9-cloud-amd64/modules.dep 318\n",
	} {
		require.Contains(t, l, want)
	}
	require.NotContains(t, l, "share")

	o.Dir, o.Omit = t.TempDir(), []string{"libm.*"}
	r, err = o.make(t.Context(), a)
	require.NoError(t, err)
	require.NotContains(t, fileListing(t, r.Initrd.Path), "libm.so")
	o.Omit = []string{"["}
	_, err = o.make(t.Context(), a)
	require.Equal(t, CodeUsage, code(err), "%v", err)

	o.Install = []string{"prog", "-oDir=/"}
	_, err = o.make(t.Context(), a)
	require.Equal(t, CodeUsage, code(err), "%v", err)
	_, err = Debian(t.Context(), Options{Dir: t.TempDir(), Debs: debs(t, ""), Install: []string{"prog"}})
	require.Equal(t, CodeUsage, code(err), "%v", err)
	_, err = Debian(t.Context(), Options{Dir: t.TempDir(), Debs: debs(t, ""), Arch: "arm64"})
	require.Equal(t, CodeUsage, code(err), "%v", err)
}

func fileListing(t *testing.T, name string) string {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return listing(t, b)
}

// TestOwnLists: what is not of the host's architecture is looked up beside the
// host's lists.
func TestOwnLists(t *testing.T) {
	var calls [][]string
	a := &apt{arch: "i386", own: "/own", run: func(_ context.Context, _, tool string, args ...string) ([]byte, error) {
		calls = append(calls, append([]string{tool}, args...))
		return nil, nil
	}}
	_, err := a.find(t.Context(), "busybox-static")
	require.Equal(t, CodeNotFound, code(err))
	require.Contains(t, calls[0], "busybox-static:i386")
	require.Contains(t, calls[0], "-oDir::State=/own")
	require.Contains(t, calls[0], "-oAPT::Architecture=i386")
}

func (f *fakeApt) run(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	if f.fails != nil {
		return nil, f.fails
	}
	switch tool + " " + args[1] {
	case "apt-cache madison":
		var out []byte
		for _, l := range strings.SplitAfter(madison, "\n") {
			if strings.HasPrefix(l, strings.TrimSuffix(args[2], ":amd64")+" ") {
				out = append(out, l...)
			}
		}
		return out, nil
	case "apt-cache show":
		var out []byte
		for _, a := range args[2:] {
			name, version, ok := strings.Cut(a, ":amd64=")
			if !ok {
				name, version, _ = strings.Cut(a, "=")
			}
			s := "Package: " + name + "\nStatus: install ok installed\nVersion: " + version + "\nArchitecture: amd64\n\n" +
				"Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\n"
			if name == defaultKernel {
				s += "Depends: linux-image-6.1.0-9-cloud-amd64 (= " + version + ")\n"
			}
			out = append(out, s+"SHA256: "+hashBytes(f.debs[name])+"\n\n"...)
		}
		return out, nil
	case "apt-get -o":
		for _, a := range args[4:] {
			if name, version, ok := strings.Cut(a, ":amd64="); ok {
				write(f.t, filepath.Join(dir, name+"_"+strings.ReplaceAll(version, ":", "%3a")+"_amd64.deb"), f.debs[name])
			}
		}
		return nil, nil
	case "apt-get install":
		return []byte(simulation), nil
	}
	return nil, errors.New("unexpected " + tool + " " + strings.Join(args, " "))
}

func TestApt(t *testing.T) {
	p := packages(t, "6.1.9-1")
	f := &fakeApt{t: t, debs: map[string][]byte{imageName: p["pool/image.deb"], shellPackage: p["pool/shell.deb"]}}
	a := &apt{cache: cache(filepath.Join(t.TempDir(), "new")), suite: "bookworm", arch: DefaultArch, run: f.run}
	image, shell, err := resolve(t.Context(), a, defaultKernel, DefaultArch)
	require.NoError(t, err)
	require.Equal(t, "6.1.9-1", image.version)
	require.Equal(t, "apt, bookworm-security", image.from)
	for _, r := range []record{image, shell} {
		name, err := a.open(t.Context(), r)
		require.NoError(t, err)
		require.NotContains(t, filepath.Base(name), ":")
		sum, err := hashFile(name)
		require.NoError(t, err)
		require.Equal(t, r.sha256, sum)
	}

	f.debs[shellPackage] = []byte("another")
	require.NoError(t, os.Remove(a.cache.path(shell)))
	_, err = a.open(t.Context(), shell)
	require.Equal(t, CodeAltered, code(err), "%v", err)
	_, err = os.Stat(a.cache.path(shell))
	require.ErrorIs(t, err, os.ErrNotExist)

	a.suite = "forky"
	_, err = a.find(t.Context(), defaultKernel)
	require.Equal(t, CodeNotFound, code(err))
	require.ErrorContains(t, err, "bookworm-security, bookworm, trixie")
	require.Contains(t, err.(*Error).Hint, "--suite bookworm")
	require.NotContains(t, err.(*Error).Hint, "security")
	_, err = a.find(t.Context(), "nonesuch")
	require.Equal(t, CodeNotFound, code(err))
	f.fails = errors.New("apt-cache: E: no lists")
	_, err = a.find(t.Context(), shellPackage)
	require.Equal(t, CodeFailed, code(err))
	require.ErrorContains(t, err, "no lists")
}

func TestVersions(t *testing.T) {
	// In rising order, each below the next [DEBPOLICY 5.6.12].
	rising := []string{"", "1.0~~", "1.0~~a", "1.0~", "1.0", "1.0-1", "1.0-1+b1", "1.0-2", "1.0-10", "1.0a", "1.0+a", "1.0.1", "1.2", "1.10", "6.1.9", "6.1.10", "1:0.1", "2:0"}
	for i, a := range rising {
		for j, b := range rising {
			c := compareVersions(a, b)
			require.Equal(t, [3]bool{i < j, i == j, i > j}, [3]bool{c < 0, c == 0, c > 0}, "%q %q", a, b)
		}
	}
	require.Zero(t, compareVersions("1.01", "1.1"))
	require.Zero(t, compareVersions("0:1.0", "1.0"))
}

func TestImageOfDependencies(t *testing.T) {
	for _, tt := range []struct{ depends, name, version string }{
		{"linux-image-6.1.0-9-amd64 (= 6.1.9-1)", imagePrefix + "6.1.0-9-amd64", "6.1.9-1"},
		{"a, linux-image-1 | b", imagePrefix + "1", ""},
		{"linux-image-1:any (>= 2)", imagePrefix + "1", ""},
		{"kmod, linux-base (>= 4.3~), initramfs-tools | linux-initramfs-tool", "", ""},
		{"", "", ""},
	} {
		name, version := record{depends: tt.depends}.image()
		require.Equal(t, [2]string{tt.name, tt.version}, [2]string{name, version})
	}
}
