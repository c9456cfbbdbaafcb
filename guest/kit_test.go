package guest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"
)

// entry is a file of a package in a test.
type entry struct {
	name string
	data string
	kind byte // 0 is a regular file
	link string
}

func tarOf(t testing.TB, entries []entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o644, Typeflag: e.kind, Linkname: e.link, ModTime: time.Unix(1e9, 0), Format: tar.FormatGNU}
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.data))
		}
		require.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, e.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func arOf(members ...[2]string) []byte {
	b := []byte(arMagic)
	for _, m := range members {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m[0], 1_000_000_000, 0, 0, "100644", len(m[1]), m[1])
		if len(m[1])%2 == 1 {
			b = append(b, '\n')
		}
	}
	return b
}

// packed compresses by the suffix of a name.
func packed(t testing.TB, suffix string, data []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch suffix {
	case "":
		return data
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.WriterConfig{BlockSize: 4000, DictCap: 1 << 16}.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	}
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// debOf makes a package as dpkg-deb does.
func debOf(t testing.TB, suffix, control string, entries []entry) []byte {
	c := packed(t, suffix, tarOf(t, []entry{{name: "./", kind: tar.TypeDir}, {name: "./control", data: control}}))
	d := packed(t, suffix, tarOf(t, entries))
	return arOf([2]string{"debian-binary", "2.0\n"}, [2]string{"control.tar" + suffix, string(c)}, [2]string{"data.tar" + suffix, string(d)})
}

func control(name, version, more string) string {
	return "Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\n" + more +
		"Description: for tests\n of more than\n .\n one line\n"
}

// elfWith makes what a module looks like to modinfo: section names and .modinfo.
func elfWith(info ...string) string {
	le := binary.LittleEndian
	text := strings.Join(info, "\x00") + "\x00"
	strs := "\x00.modinfo\x00"
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint64(b[40:], uint64(64+len(text)+len(strs)))
	le.PutUint16(b[58:], 64)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	b = append(b, text+strs...)
	for _, s := range []struct{ name, off, size int }{{}, {1, 64, len(text)}, {0, 64 + len(text), len(strs)}} {
		h := make([]byte, 64)
		le.PutUint32(h, uint32(s.name))
		le.PutUint64(h[24:], uint64(s.off))
		le.PutUint64(h[32:], uint64(s.size))
		b = append(b, h...)
	}
	return string(b)
}

func bzImage(mark string) string {
	b := make([]byte, 0x300)
	copy(b[0x202:], "HdrS")
	copy(b[0x280:], mark)
	return string(b)
}

const (
	release   = "6.1.0-9-cloud-amd64"
	imageName = imagePrefix + release
)

// imageEntries is a kernel package with the modules of a small tree.
func imageEntries() []entry {
	dir := "./lib/modules/" + release + "/"
	return []entry{
		{name: "./", kind: tar.TypeDir},
		{name: "./boot/", kind: tar.TypeDir},
		{name: "./boot/vmlinuz-" + release, data: bzImage("one")},
		{name: dir + "kernel/", kind: tar.TypeDir},
		{name: dir + "kernel/drivers/virtio/virtio.ko", data: elfWith("name=virtio", "depends=virtio_ring")},
		{name: dir + "kernel/drivers/virtio/virtio_ring.ko", data: elfWith("name=virtio_ring", "depends=")},
		{name: dir + "kernel/drivers/virtio/virtio_pci.ko", data: elfWith("depends=virtio,virtio_ring")},
		{name: dir + "kernel/drivers/char/virtio-rng.ko", data: elfWith("license=GPL", "depends=virtio", "alias=virtio:d00000004v*")},
		{name: dir + "kernel/fs/odd.ko", data: elfWith("depends=", "softdep=pre: crc-soft nowhere post: virtio")},
		{name: dir + "kernel/lib/crc-soft.ko", data: elfWith("depends=")},
		{name: dir + "kernel/one.ko", data: elfWith("depends=two")},
		{name: dir + "kernel/two.ko", data: elfWith("depends=one")},
		{name: dir + "kernel/lost.ko", data: elfWith("depends=gone")},
		{name: dir + "modules.builtin", data: "kernel/fs/ext4/ext4.ko\nkernel/lib/crc16.ko\n"},
		{name: dir + "modules.order", data: "kernel/fs/odd.ko\n"},
		{name: "./usr/share/doc/README", data: "text"},
	}
}

func shellEntries() []entry {
	return []entry{{name: "./bin/busybox", data: "\x7fELF busybox"}, {name: "./usr/share/doc/busybox", kind: tar.TypeSymlink, link: "/etc/passwd"}}
}

const shellVersion = "1:1.35.0-4"

// debs writes a kernel and a shell to files.
func debs(t testing.TB, suffix string) []string {
	dir := t.TempDir()
	image, shell := filepath.Join(dir, "image.deb"), filepath.Join(dir, "shell.deb")
	write(t, image, debOf(t, suffix, control(imageName, "6.1.9-1", "Depends: kmod, linux-base (>= 4.3~)\n"), imageEntries()))
	write(t, shell, debOf(t, suffix, control(shellPackage, shellVersion, ""), shellEntries()))
	return []string{image, shell}
}

func write(t testing.TB, name string, b []byte) {
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, b, 0o644))
}

// listing describes a newc archive, one line a file.
func listing(t testing.TB, b []byte) string {
	var out strings.Builder
	for {
		require.GreaterOrEqual(t, len(b), 110)
		require.Equal(t, "070701", string(b[:6]))
		var f [13]int
		for i := range f {
			v, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
			require.NoError(t, err)
			f[i] = int(v)
		}
		size, name := f[6], string(b[110:110+f[11]-1])
		require.Zero(t, b[110+f[11]-1])
		start := (110 + f[11] + 3) &^ 3
		data := b[start : start+size]
		b = b[(start+size+3)&^3:]
		if name == "TRAILER!!!" {
			require.Empty(t, b)
			return out.String()
		}
		require.Equal(t, [6]int{0, 0, 0, 0, 0, 0}, [6]int{f[2], f[3], f[5], f[7], f[8], f[12]}, "owner, time, device, check")
		fmt.Fprintf(&out, "%d %06o %d %s", f[0], f[1], f[4], name)
		if f[1] == modeLink {
			fmt.Fprintf(&out, " -> %s", data)
		} else if f[1] != modeDir {
			fmt.Fprintf(&out, " %d", size)
		}
		out.WriteByte('\n')
	}
}

// archive is a mirror in memory.
type archive struct {
	*httptest.Server
	files map[string][]byte
	hits  map[string]int
}

func newArchive(t testing.TB) *archive {
	a := &archive{files: map[string][]byte{}, hits: map[string]int{}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.hits[r.URL.Path]++
		b, ok := a.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(b)
	}))
	t.Cleanup(a.Close)
	return a
}

// publish puts packages into a suite, and returns the hash of its Release file.
func (a *archive) publish(t testing.TB, root, suite string, debs map[string][]byte, meta string) string {
	index := meta
	for _, file := range []string{"pool/image.deb", "pool/shell.deb"} {
		b, ok := debs[file]
		if !ok {
			continue
		}
		a.files[root+"/"+file] = b
		name := filepath.Join(t.TempDir(), "x.deb")
		write(t, name, b)
		r, err := localRecord(t.Context(), name, DefaultArch)
		require.NoError(t, err)
		index += fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nFilename: %s\nSize: %d\nSHA256: %s\n\n",
			r.name, r.version, file, len(b), r.sha256)
	}
	packedIndex := packed(t, ".xz", []byte(index))
	base := root + "/dists/" + suite + "/"
	a.files[base+indexFile(DefaultArch)] = packedIndex
	rel := fmt.Sprintf("Origin: Debian\nSuite: oldstable\nCodename: %s\nSHA256:\n %s 7 contrib/x\n %s %d %s\n", suite,
		strings.Repeat("0", 64), hashBytes(packedIndex), len(packedIndex), indexFile(DefaultArch))
	a.files[base+"Release"] = []byte(rel)
	return hashBytes([]byte(rel))
}

const metaStanza = "Package: " + defaultKernel + "\nVersion: 6.1.9-1\nArchitecture: amd64\nDepends: " + imageName + " (= 6.1.9-1)\n" +
	"Filename: pool/meta.deb\nSize: 5\nSHA256: 00be21c0c17f08ddf26e82d3b53fe7a41efa4a288938da6bb69e89c4b25c281d\n\n"
