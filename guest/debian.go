// Package guest makes bootable guests of other people's packages, on any host.
//
// Debian makes a kernel and an initramfs from a Linux image and busybox-static:
// through apt, which checks the archive's signatures; from a mirror, where the
// user gives the hash of the Release file or says that the mirror is trusted; or
// from package files that the user has. All of it is read here, ar, tar, xz and
// zstd, and written as a newc archive: no tools of the host are needed but apt,
// and nothing is unpacked to its disk by a name that a package chose. Packages
// are hostile input: bounded and checked.
//
// Not done: OpenPGP. Signatures are apt's task; without apt, the Release file's
// hash is where trust starts.
//
// The same packages and options give the same bytes.
package guest

import (
	"context"
	_ "embed" // for the guest's init
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// Files of a guest's folder.
const (
	KernelFile   = "vmlinuz"
	InitrdFile   = "initrd.img"
	ManifestFile = "guest.json"
)

// DefaultSuite is the Debian release whose guest is tested: Debian 12.
const DefaultSuite = "bookworm"

// DefaultArch is the architecture of guests.
const DefaultArch = "amd64"

// defaultInit is the guest's first program. It is a script for busybox.
//
//go:embed init
var defaultInit []byte

// Options say what guest to make and of what.
type Options struct {
	Dir   string // where its files go
	Cache string // where downloaded packages are kept

	// At most one of these; without any, packages come through apt.
	Mirrors []string // addresses of folders that have dists/
	Debs    []string // package files

	ReleaseSHA256 []string // of dists/SUITE/Release, one for each mirror
	TrustMirror   bool     // take the mirrors' Release files as they are

	Suite   string   // "" is DefaultSuite
	Arch    string   // Debian's name of the architecture, amd64 or i386; "" is DefaultArch
	Kernel  string   // package, or a metapackage for one; "" is the usual one, or the one among Debs
	Modules []string // names; nil is DefaultModules as far as there are any, an empty list is none
	Install []string // packages to unpack in the guest, with all that they depend on; through apt only
	Omit    []string // patterns of names, as path.Match has them, of files of these packages to leave out
	Add     []string // programs of the host to put in the guest's /bin
	Init    string   // a file of the host to be the guest's /init, "" for the default
}

// Package is one that a guest was made of.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	SHA256  string `json:"sha256"`
	From    string `json:"from"`
}

// File is one that was made.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Result tells what a guest consists of.
type Result struct {
	Release   string    `json:"release"` // the kernel's, as in uname -r
	Packages  []Package `json:"packages"`
	Modules   []string  `json:"modules"` // in the order in which /init loads them
	Kernel    File      `json:"kernel"`
	Initrd    File      `json:"initrd"`
	Unchanged bool      `json:"unchanged"` // the folder had it already
}

// Debian makes the guest. It changes nothing if the folder has the same one.
func Debian(ctx context.Context, o Options) (*Result, error) {
	src, err := o.source(ctx)
	if err != nil {
		return nil, err
	}
	return o.make(ctx, src)
}

// make makes the guest of a source's packages.
func (o *Options) make(ctx context.Context, src source) (*Result, error) {
	in, err := o.extras()
	if err != nil {
		return nil, err
	}
	image, shell, err := resolve(ctx, src, o.Kernel, o.Arch)
	if err != nil {
		return nil, err
	}
	more, err := o.installed(ctx, src)
	if err != nil {
		return nil, err
	}
	packages := []Package{publicRecord(image), publicRecord(shell)}
	for _, r := range more {
		packages = append(packages, publicRecord(r))
	}
	sort.Slice(packages, func(i, j int) bool { return packages[i].Name < packages[j].Name })
	key := in.key(o.Modules, o.Omit, packages)
	if r := unchanged(o.Dir, key); r != nil {
		return r, nil
	}
	b := &build{ctx: ctx, dir: o.Dir, modules: o.Modules, tree: in.tree()}
	for _, r := range more {
		if err := b.install(src, r, o.Omit); err != nil {
			return nil, wrap("cannot use "+r.name+" "+r.version, err)
		}
	}
	if err := b.shell(src, shell); err != nil {
		return nil, wrap("cannot use "+shell.name+" "+shell.version, err)
	}
	if err := b.kernel(src, image); err != nil {
		return nil, wrap("cannot use "+image.name+" "+image.version, err)
	}
	if len(more) > 0 {
		b.tree = b.tree.merged()
	}
	return b.finish(packages, key)
}

// installed resolves the packages that are unpacked in the guest.
func (o *Options) installed(ctx context.Context, src source) ([]record, error) {
	if len(o.Install) == 0 {
		return nil, nil
	}
	for _, name := range o.Install {
		if !plainWord(name) {
			return nil, fail(CodeUsage, "package "+name+" is no name of one", "", "--package sqlite3")
		}
	}
	for _, p := range o.Omit {
		if _, err := path.Match(p, ""); err != nil {
			return nil, fail(CodeUsage, fmt.Sprintf("pattern %q is none", p), err.Error(), "--omit '*.a'")
		}
	}
	r, ok := src.(resolver)
	if !ok {
		return nil, fail(CodeUsage, "cannot install "+strings.Join(o.Install, ", "), "only apt knows what they depend on",
			"no --mirror and no --deb")
	}
	return r.closure(ctx, o.Install)
}

func publicRecord(r record) Package {
	return Package{Name: r.name, Version: r.version, SHA256: r.sha256, From: r.from}
}

// source chooses where packages come from, and completes the options.
func (o *Options) source(ctx context.Context) (source, error) {
	if o.Suite == "" {
		o.Suite = DefaultSuite
	}
	if o.Arch == "" {
		o.Arch = DefaultArch
	}
	if kernels[o.Arch] == "" {
		return nil, fail(CodeUsage, fmt.Sprintf("architecture %.20q is none of a guest", o.Arch), "", "--arch amd64, or  --arch i386")
	}
	if !plainWord(o.Suite) {
		return nil, fail(CodeUsage, "suite "+o.Suite+" is no name of one", "", "--suite "+DefaultSuite)
	}
	if len(o.Debs) > 0 {
		return o.localSource(ctx)
	}
	if o.Kernel == "" {
		o.Kernel = kernels[o.Arch]
	}
	if !plainWord(o.Kernel) {
		return nil, fail(CodeUsage, "kernel "+o.Kernel+" is no name of a package", "", "--kernel "+kernels[o.Arch])
	}
	if len(o.Mirrors) > 0 {
		return o.mirrorSource()
	}
	if o.TrustMirror || len(o.ReleaseSHA256) > 0 {
		return nil, fail(CodeUsage, "no mirror is given", "", "--mirror http://MIRROR/debian")
	}
	if !haveApt() {
		return nil, fail(CodeUsage, "cannot get packages", "there is no apt on this host",
			"--mirror http://MIRROR/debian --release-sha256 HASH, or  --deb FILE --deb FILE")
	}
	return o.newApt(ctx)
}

func (o *Options) localSource(ctx context.Context) (source, error) {
	if len(o.Mirrors) > 0 {
		return nil, fail(CodeUsage, "packages can come from a mirror or from files, not from both", "", "--deb  without  --mirror")
	}
	l, err := newLocal(ctx, o.Debs, o.Arch)
	if err == nil && o.Kernel == "" {
		o.Kernel, err = l.kernel()
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (o *Options) mirrorSource() (source, error) {
	if !o.TrustMirror && len(o.ReleaseSHA256) == 0 {
		return nil, fail(CodeUsage, "a mirror can send anything", "signatures are checked by apt only",
			"--release-sha256 HASH  of its dists/"+o.Suite+"/Release, or  --trust-mirror")
	}
	if n := len(o.ReleaseSHA256); n > 0 && (n != len(o.Mirrors) || o.TrustMirror) {
		return nil, fail(CodeUsage, "the hashes do not fit the mirrors", "each mirror needs one, in the same order",
			"--mirror URL --release-sha256 HASH")
	}
	var ms mirrors
	for i, url := range o.Mirrors {
		hash := ""
		if !o.TrustMirror {
			hash = o.ReleaseSHA256[i]
		}
		m, err := newMirror(cache(o.Cache), url, o.Suite, o.Arch, hash)
		if err != nil {
			return nil, err
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// path of one of the guest's files.
func (b *build) path(name string) string { return filepath.Join(b.dir, name) }

// exists tells whether a file has this content.
func (f File) exists() bool {
	sum, err := hashFile(f.Path)
	return err == nil && sum == f.SHA256
}

func fileOf(path string, data []byte) File {
	return File{Path: path, Bytes: int64(len(data)), SHA256: hashBytes(data)}
}

// replace gives a file new contents under a temporary name first.
func replace(path string, data []byte) error {
	tmp := path + ".part"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
