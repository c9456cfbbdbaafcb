package guest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// source is where packages come from.
type source interface {
	// find returns what the source knows of a package.
	find(ctx context.Context, name string) ([]record, error)
	// open returns a file that holds the package, its hash checked.
	open(ctx context.Context, r record) (path string, err error)
}

const (
	imagePrefix   = "linux-image-"
	defaultKernel = imagePrefix + "cloud-amd64"
	shellPackage  = "busybox-static"
)

// kernels are the default kernels of the architectures that godwit runs.
var kernels = map[string]string{DefaultArch: defaultKernel, "i386": imagePrefix + "686-pae"}

// resolver is a source that knows what depends on what.
type resolver interface {
	closure(ctx context.Context, names []string) ([]record, error)
}

// resolve finds the kernel's package and the shell's.
func resolve(ctx context.Context, src source, kernel, arch string) (image, shell record, err error) {
	if image, err = newest(ctx, src, kernel, "", arch); err != nil {
		return
	}
	if name, version := image.image(); name != "" { // a metapackage
		if image, err = newest(ctx, src, name, version, arch); err != nil {
			return
		}
	}
	shell, err = newest(ctx, src, shellPackage, "", arch)
	return
}

// newest is the package of the highest version, or of the given one.
func newest(ctx context.Context, src source, name, version, arch string) (record, error) {
	all, err := src.find(ctx, name)
	if err != nil {
		return record{}, err
	}
	var best record
	for _, r := range all {
		if r.name != name || (r.arch != arch && r.arch != "all") || (version != "" && r.version != version) {
			continue
		}
		if best.name == "" || compareVersions(r.version, best.version) > 0 {
			best = r
		}
	}
	if best.name == "" {
		what := "there is no package " + name
		if version != "" {
			what += " " + version
		}
		return record{}, fail(CodeNotFound, what, "", "another  --suite  or  --kernel")
	}
	return best, best.usable()
}

// cache keeps packages by name, version and hash.
type cache string

func (c cache) path(r record) string {
	version := strings.ReplaceAll(r.version, ":", "%3a") // Windows has no colons in names
	return filepath.Join(string(c), r.name+"_"+version+"_"+r.sha256+".deb")
}

// open returns the cached package, or has fetch write it first. A file whose
// hash is another is fetched anew; what is fetched is checked before it gets its
// name.
func (c cache) open(r record, fetch func(to *os.File) error) (string, error) {
	name := c.path(r)
	if sum, err := hashFile(name); err == nil && sum == r.sha256 {
		return name, nil
	}
	if err := os.MkdirAll(string(c), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(string(c), "part-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	err = fetch(tmp)
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", wrap("cannot fetch "+r.name+" "+r.version, err)
	}
	sum, err := hashFile(tmp.Name())
	if err != nil {
		return "", err
	}
	if sum != r.sha256 {
		return "", differs(r.name+" "+r.version, sum, r.sha256)
	}
	return name, os.Rename(tmp.Name(), name)
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashBytes(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// local is packages that the user has as files. Nobody vouches for them but the
// user; their hashes are printed.
type local struct {
	all  []record
	arch string
}

// newLocal reads what the files say they are.
func newLocal(ctx context.Context, files []string, arch string) (*local, error) {
	l := &local{arch: arch}
	for _, name := range files {
		r, err := localRecord(ctx, name, arch)
		if err != nil {
			return nil, err
		}
		l.all = append(l.all, r)
	}
	return l, nil
}

func localRecord(ctx context.Context, name, arch string) (record, error) {
	d, err := openDeb(name)
	if err != nil {
		return record{}, err
	}
	defer d.close()
	s, err := d.stanza(ctx)
	if err != nil {
		return record{}, wrap("cannot read "+name, err)
	}
	r := s.record()
	if r.arch != arch && r.arch != "all" {
		e := fail(CodeIncompatible, "cannot use "+name, fmt.Sprintf("it is for %.20q, the guest is %s", r.arch, arch),
			"the package for "+arch)
		e.Field, e.Have, e.Want = "architecture", r.arch, arch
		return record{}, e
	}
	if r.sha256, err = hashFile(name); err != nil {
		return record{}, err
	}
	r.file, r.from = name, "file"
	return r, nil
}

// kernel is the only kernel package among the files that is no metapackage.
func (l *local) kernel() (string, error) {
	var found []string
	for _, r := range l.all {
		if meta, _ := r.image(); strings.HasPrefix(r.name, imagePrefix) && meta == "" {
			found = append(found, r.name)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fail(CodeUsage, "there is no kernel among the packages", "",
			"apt-get download "+defaultKernel+"'s dependency, and name it with --deb")
	}
	return "", fail(CodeUsage, "there are several kernels among the packages: "+strings.Join(found, ", "), "",
		"--kernel "+found[0])
}

func (l *local) find(_ context.Context, name string) ([]record, error) {
	var out []record
	for _, r := range l.all {
		if r.name == name {
			out = append(out, r)
		}
	}
	if out == nil {
		return nil, fail(CodeUsage, "package "+name+" is missing", "both a kernel and "+shellPackage+" are needed",
			"--deb "+name+"_VERSION_"+l.arch+".deb")
	}
	return out, nil
}

func (l *local) open(_ context.Context, r record) (string, error) { return r.file, nil }
