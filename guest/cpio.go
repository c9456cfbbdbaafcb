package guest

import (
	"fmt"
	"io"
	"sort"
	"strings"
)

// Modes of what an initramfs holds [LINUX driver-api/early-userspace/buffer-format].
const (
	modeDir  = 0o040755
	modeFile = 0o100644
	modeProg = 0o100755
	modeLink = 0o120777
)

// tree is the contents of an initramfs by path. Directories come by themselves.
type tree map[string]node

type node struct {
	mode uint32
	data []byte // a link's: where it leads
}

// add puts a file in the tree.
func (t tree) add(path string, mode uint32, data []byte) { t[path] = node{mode, data} }

// paths lists the tree with the directories, which come before their contents.
func (t tree) paths() []string {
	all := map[string]bool{}
	for p := range t {
		for all[p] = true; strings.Contains(p, "/"); {
			p = p[:strings.LastIndexByte(p, '/')]
			all[p] = true
		}
	}
	out := make([]string, 0, len(all))
	for p := range all {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}

// write writes the tree as a newc archive: sorted, owned by root, of 1970, with
// inode numbers in order, so that equal trees are equal bytes.
func (t tree) write(w io.Writer) error {
	n := &newc{w: w}
	for _, p := range t.paths() {
		f, ok := t[p]
		if !ok {
			f.mode = modeDir
		}
		n.ino++
		n.entry(p, f)
	}
	n.ino = 0
	n.entry("TRAILER!!!", node{})
	return n.err
}

// newc writes entries of the "new ASCII" cpio format. After an error it writes
// nothing more.
type newc struct {
	w   io.Writer
	ino int
	err error
}

func (n *newc) entry(name string, f node) {
	links := 1
	if f.mode&0o170000 == modeDir&0o170000 {
		links = 2
	}
	if uint64(len(f.data)) > 0xffffffff {
		n.err = fmt.Errorf("initramfs: %s has %d bytes, at most 2^32-1", name, len(f.data))
		return
	}
	// magic ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor
	// rdevminor namesize check
	h := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		n.ino, f.mode, 0, 0, links, 0, len(f.data), 0, 0, 0, 0, len(name)+1, 0, name)
	n.padded([]byte(h))
	n.padded(f.data)
}

// padded writes b and zeros up to a multiple of four.
func (n *newc) padded(b []byte) {
	for _, part := range [][]byte{b, make([]byte, -len(b)&3)} {
		if n.err == nil && len(part) > 0 {
			_, n.err = n.w.Write(part)
		}
	}
}
