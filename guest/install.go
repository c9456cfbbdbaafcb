package guest

import (
	"archive/tar"
	"path"
	"strings"
)

// leftOut are folders that no program reads, as small Debian images leave them
// out.
var leftOut = []string{
	"usr/share/doc/", "usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/",
}

// kept tells whether a file is neither documentation nor of a name to omit.
func kept(name string, omit []string) bool {
	for _, dir := range leftOut {
		if strings.HasPrefix(name+"/", dir) {
			return false
		}
	}
	for _, p := range omit {
		if ok, _ := path.Match(p, path.Base(name)); ok {
			return false
		}
	}
	return true
}

// install unpacks a package into the tree. Its scripts are not run: what they
// would set up is missing.
func (b *build) install(src source, r record, omit []string) error {
	f, err := b.contents(src, r)
	if err != nil {
		return err
	}
	defer discard(f)
	if _, err := f.Seek(0, 0); err != nil {
		return err
	}
	return walkEntries(f, func(h *tar.Header, f file) error {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if !kept(f.path, omit) {
			return nil
		}
		return b.tree.entry(h, f)
	})
}

// entry adds what a tar archive holds. Devices and such are left out: the guest
// has those of its kernel.
func (t tree) entry(h *tar.Header, f file) error {
	perm := uint32(h.Mode) & 0o7777
	switch h.Typeflag {
	case tar.TypeReg:
		data, err := f.read()
		if err != nil {
			return err
		}
		t.add(f.path, modeFile&^0o7777|perm, data)
	case tar.TypeSymlink:
		if h.Linkname == "" || strings.Contains(h.Linkname, "\x00") || len(h.Linkname) > 4096 {
			return damaged("%s is a link to %.80q", f.path, h.Linkname)
		}
		t.add(f.path, modeLink, []byte(h.Linkname))
	case tar.TypeLink:
		to, err := plain(h.Linkname)
		if err != nil {
			return err
		}
		n, ok := t[to]
		if !ok {
			return damaged("%s is another name of %.80q, which is missing", f.path, h.Linkname)
		}
		t[f.path] = n
	case tar.TypeDir:
		if f.path != "" && f.path != "." {
			t.add(strings.TrimSuffix(f.path, "/"), modeDir&^0o7777|perm, nil)
		}
	}
	return nil
}

// merged is the tree with all programs and libraries under usr, where relative
// links between packages expect each other, and links to there at the root.
func (t tree) merged() tree {
	out := tree{}
	tops := map[string]bool{}
	for p, n := range t {
		top, _, _ := strings.Cut(p, "/")
		if top != "bin" && top != "sbin" && !strings.HasPrefix(top, "lib") {
			out[p] = n
			continue
		}
		tops[top] = true
		if p != top {
			out[path.Join("usr", p)] = n
		}
	}
	for top := range tops {
		out.add(top, modeLink, []byte("usr/"+top))
	}
	return out
}
