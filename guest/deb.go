package guest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Bounds on what a package may hold, far above any real one: linux-image-amd64
// unpacks to 400 MB in 5,000 files.
const (
	maxData    = 4 << 30   // bytes of the unpacked archives of a package
	maxEntries = 1 << 18   // files of a package
	maxFile    = 128 << 20 // bytes of one file that is kept
	maxControl = 1 << 20   // bytes of the control file
	maxWindow  = 128 << 20 // bytes of a zstd window: that of --ultra --long=27
	maxMembers = 64        // parts of the outer archive
)

// deb is a Debian package [DEB5]: an ar archive of debian-binary, control.tar.*
// and data.tar.*, in this order.
type deb struct {
	f       *os.File
	control member
	data    member
}

// member is a file of an ar archive, of which only the name and the contents
// matter.
type member struct {
	name string
	*io.SectionReader
}

// openDeb finds the parts of a package.
func openDeb(name string) (*deb, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	d := &deb{f: f}
	if err := d.parse(); err != nil {
		f.Close()
		return nil, wrap("cannot read "+name, err)
	}
	return d, nil
}

func (d *deb) close() { d.f.Close() }

func (d *deb) parse() error {
	st, err := d.f.Stat()
	if err != nil {
		return err
	}
	members, err := readAr(d.f, st.Size())
	if err != nil {
		return err
	}
	version := make([]byte, 2)
	if len(members) < 3 || members[0].name != "debian-binary" {
		return damaged("it does not start with debian-binary")
	}
	if n, _ := members[0].ReadAt(version, 0); n != 2 || string(version) != "2." {
		return damaged("its format %q is not 2.x", version[:n])
	}
	for _, m := range members[1:] {
		switch {
		case strings.HasPrefix(m.name, "control.tar") && d.control.name == "":
			d.control = m
		case strings.HasPrefix(m.name, "data.tar") && d.data.name == "":
			d.data = m
		}
	}
	if d.control.name == "" || d.data.name == "" {
		return damaged("it has no control.tar or no data.tar")
	}
	return nil
}

const arMagic = "!<arch>\n"

// readAr lists the members of an ar archive in the common format.
func readAr(r io.ReaderAt, size int64) ([]member, error) {
	magic := make([]byte, len(arMagic))
	if n, err := r.ReadAt(magic, 0); n < len(magic) || string(magic) != arMagic {
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, damaged("it is no ar archive")
	}
	var out []member
	for off := int64(len(arMagic)); off < size; {
		if len(out) == maxMembers {
			return nil, damaged("it has more than %d members", maxMembers)
		}
		var h [60]byte
		if n, err := r.ReadAt(h[:], off); n < len(h) {
			return nil, damaged("it ends in a header: %v", err)
		}
		off += int64(len(h))
		n, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 40)
		if string(h[58:]) != "`\n" || err != nil {
			return nil, damaged("the header at %d is none", off-int64(len(h)))
		}
		if int64(n) > size-off {
			return nil, damaged("a member has %d bytes, %d are left", n, size-off)
		}
		name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
		out = append(out, member{name, io.NewSectionReader(r, off, int64(n))})
		off += int64(n) + int64(n&1)
	}
	return out, nil
}

// unpacked streams a member without its compression, which its name tells. A
// kernel module is compressed in the same ways.
func (m member) unpacked() (io.Reader, func(), error) {
	in := io.NewSectionReader(m, 0, m.Size())
	switch path.Ext(m.name) {
	case ".tar", ".ko":
		return in, func() {}, nil
	case ".gz":
		z, err := gzip.NewReader(in)
		return z, func() {}, err
	case ".xz":
		z, err := newXZ(in)
		return z, func() {}, err
	case ".zst":
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
			zstd.WithDecoderMaxMemory(maxData))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return nil, nil, fmt.Errorf("compression of %s is not known: xz, zst, gz and none are", m.name)
}

// bounded fails where more than left bytes follow, and when ctx is done.
type bounded struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

var errTooMuch = errors.New("it unpacks to more than any real package")

func (b *bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooMuch
	}
	return n, err
}

// unpack writes a member without its compression to a file.
func (m member) unpack(ctx context.Context, to *os.File) error {
	r, done, err := m.unpacked()
	if err != nil {
		return damaged("%s: %v", m.name, err)
	}
	defer done()
	_, err = io.Copy(to, &bounded{ctx, r, maxData})
	return blame(m.name, err)
}

// blame blames a package for an error of reading it, unless the host or the user
// is the cause.
func blame(part string, err error) error {
	var host *fs.PathError
	var told *Error
	if err == nil || errors.As(err, &host) || errors.As(err, &told) || errors.Is(err, context.Canceled) {
		return err
	}
	return damaged("%s: %v", part, err)
}

// file is a regular file of a package, by its path without "./" and without the
// "usr/" that merged systems have before lib and bin.
type file struct {
	path string
	size int64
	io.Reader
}

// walkTar calls fn for the regular files of a tar archive.
func walkTar(r io.Reader, fn func(file) error) error {
	return walkEntries(r, func(h *tar.Header, f file) error {
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		return fn(f)
	})
}

// walkEntries calls fn for everything in a tar archive. Nothing of an archive is
// written to the host by name, so names need no more than to be plain; but a
// package with others is not one that a builder of packages made.
func walkEntries(r io.Reader, fn func(*tar.Header, file) error) error {
	t := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return blame("tar", err)
		}
		if n == maxEntries {
			return damaged("it has more than %d files", maxEntries)
		}
		name, err := plain(h.Name)
		if err != nil {
			return err
		}
		if err := fn(h, file{name, h.Size, t}); err != nil {
			return err
		}
	}
}

// plain is a name in an archive as a path relative to the root.
func plain(name string) (string, error) {
	rel := strings.TrimPrefix(name, "./")
	if strings.ContainsAny(rel, "\\\x00\n") || len(rel) > 4096 {
		return "", damaged("it has a file named %.80q", name)
	}
	for _, part := range strings.Split(strings.TrimSuffix(rel, "/"), "/") {
		if part == ".." || (part == "" && rel != "") || (part == "." && rel != ".") {
			return "", damaged("it has a file named %.80q", name)
		}
	}
	if in, ok := strings.CutPrefix(rel, "usr/"); ok && (strings.HasPrefix(in, "lib/") || strings.HasPrefix(in, "bin/")) {
		rel = in
	}
	return rel, nil
}

// read returns the whole of a file.
func (f file) read() ([]byte, error) {
	if f.size > maxFile {
		return nil, damaged("%s has %d bytes, at most %d", f.path, f.size, maxFile)
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, f, f.size); err != nil {
		return nil, blame(f.path, err)
	}
	return b.Bytes(), nil
}

// stanza reads the control file.
func (d *deb) stanza(ctx context.Context) (stanza, error) {
	r, done, err := d.control.unpacked()
	if err != nil {
		return nil, damaged("%s: %v", d.control.name, err)
	}
	defer done()
	var out stanza
	err = walkTar(&bounded{ctx, r, maxControl * 8}, func(f file) error {
		if f.path != "control" || out != nil {
			return nil
		}
		if f.size > maxControl {
			return damaged("its control file has %d bytes, at most %d", f.size, maxControl)
		}
		return eachStanza(f, func(s stanza) error {
			out = s
			return nil
		})
	})
	if err == nil && out["Package"] == "" {
		err = damaged("it has no control file")
	}
	return out, err
}
