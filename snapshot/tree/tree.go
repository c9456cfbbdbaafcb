// Package tree keeps the snapshots of one VM as a tree of its pasts, in one
// directory:
//
//	ID.gwsnap  a machine, as package snapshot writes it; often only what changed
//	           since another one
//	ID.json    the node: its place in the tree, its tag, its disks, and the state
//	           hash that the machine's file must have
//	head       the ID that the VM's present descends from
//
// A snapshot exists once its node does, which is written last. Every step leaves
// a directory in which all nodes are whole: files are written under temporary
// names, made durable and renamed, and nothing is removed that a node still
// needs. What a crash leaves over, GC removes.
//
// Whoever changes a tree must be alone: the process of the VM, or the holder of
// its lock.
package tree

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"godwit/snapshot"
)

// Node is one snapshot.
type Node struct {
	ID      snapshot.UUID `json:"id"`
	Parent  snapshot.UUID `json:"parent"` // what it descends from; zero: a root
	Tag     string        `json:"tag"`
	Message string        `json:"message,omitempty"`
	Created int64         `json:"created"`  // host time, Unix nanoseconds
	Count   uint64        `json:"count"`    // the machine's
	GuestNS int64         `json:"guest_ns"` // guest time
	Root    string        `json:"root"`     // state hash, hexadecimal
	Bytes   uint64        `json:"bytes"`    // of the machine's file when it was written
	Pages   uint32        `json:"pages"`    // of memory
	Stored  uint32        `json:"stored"`   // of them, those written
	Kept    uint32        `json:"kept"`     // left to the parent
	Disks   []Disk        `json:"disks,omitempty"`
}

// Disk is the content of one disk at the moment of a snapshot.
type Disk struct {
	ID     string `json:"id"`     // the machine's name for it
	Mode   string `json:"mode"`   // full, cow or reflink
	File   string `json:"file"`   // in the tree's directory, or an absolute path
	Format string `json:"format"` // of the file: raw or qcow2
	Size   int64  `json:"size"`   // bytes the guest sees

	Outside []Image `json:"outside,omitempty"` // what File is, or is over, that is not the VM's own
}

// Image is an image that somebody else may write to once the VM has no process.
type Image struct {
	File  string `json:"file"`         // absolute
	Owner string `json:"id,omitempty"` // of its owner file, which may not have been there
	Epoch uint64 `json:"epoch,omitempty"`
}

// FS is the file system as far as trees need it, so that tests can make any step
// fail.
type FS interface {
	snapshot.Layer
	List(dir string) ([]string, error) // names of files; none where dir is not there
	Link(from, to string) error        // another name for a file that nobody changes
}

// Host is the host's file system.
type Host struct{ snapshot.Disk }

// List lists the files of a directory.
func (Host) List(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range all {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Link makes a hard link.
func (Host) Link(from, to string) error { return os.Link(from, to) }

// Tree is the snapshots of a VM.
type Tree struct {
	fs    FS
	dir   string
	nodes []Node // by time, then ID
	head  snapshot.UUID
	held  func(nodes []Node) ([]string, error)
}

// Open reads the tree of a directory, which exists. A node that cannot be read is an
// error by name: it may be somebody's only past.
func Open(f FS, dir string) (*Tree, error) {
	t := &Tree{fs: f, dir: dir}
	names, err := f.List(dir)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	for _, name := range names {
		id, ok := nodeFile(name)
		if !ok {
			continue
		}
		n, err := t.read(name)
		if err == nil && n.ID != id {
			err = fmt.Errorf("names itself %s", n.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", filepath.Join(dir, name), err)
		}
		t.nodes = append(t.nodes, n)
	}
	t.sort()
	return t, errors.Join(t.checkParents(), t.readHead(names))
}

// Hold names a function that lists files of the tree's directory which GC must leave,
// though no node names them: layers of disks that are needed, those of the nodes and
// others, are over them. After an error nothing may go.
func (t *Tree) Hold(f func(nodes []Node) ([]string, error)) { t.held = f }

func (t *Tree) sort() {
	slices.SortFunc(t.nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), bytes.Compare(a.ID[:], b.ID[:]))
	})
}

const (
	nodeExt  = ".json"
	headFile = "head"
)

// nodeFile tells whether a file is a node's.
func nodeFile(name string) (id snapshot.UUID, ok bool) {
	s, ok := strings.CutSuffix(name, nodeExt)
	return id, ok && id.UnmarshalText([]byte(s)) == nil
}

// checkParents refuses a tree with a parent missing or a circle.
func (t *Tree) checkParents() error {
	for _, n := range t.nodes {
		for steps := 0; n.Parent != (snapshot.UUID{}); steps++ {
			p, ok := t.Node(n.Parent)
			if !ok {
				return fmt.Errorf("snapshot %q: its parent %s is missing", n.Tag, n.Parent)
			}
			if steps == len(t.nodes) {
				return fmt.Errorf("snapshot %q: is its own ancestor", n.Tag)
			}
			n = p
		}
	}
	return nil
}

func (t *Tree) readHead(names []string) error {
	if !slices.Contains(names, headFile) {
		return nil
	}
	b, err := t.readAll(headFile)
	if err != nil {
		return err
	}
	// A head that is gone is no loss: the next snapshot is a root.
	var id snapshot.UUID
	if id.UnmarshalText(bytes.TrimSpace(b)) == nil && t.index(id) >= 0 {
		t.head = id
	}
	return nil
}

// Nodes are all snapshots, oldest first.
func (t *Tree) Nodes() []Node { return slices.Clone(t.nodes) }

// Node finds a snapshot by its id.
func (t *Tree) Node(id snapshot.UUID) (n Node, ok bool) {
	if i := t.index(id); i >= 0 {
		return t.nodes[i], true
	}
	return Node{}, false
}

func (t *Tree) index(id snapshot.UUID) int {
	return slices.IndexFunc(t.nodes, func(n Node) bool { return n.ID == id })
}

// Head is what the VM's present descends from; zero: nothing.
func (t *Tree) Head() snapshot.UUID { return t.head }

// SetHead says what the VM's present descends from.
func (t *Tree) SetHead(id snapshot.UUID) error {
	if err := t.replace(headFile, []byte(id.String()+"\n")); err != nil {
		return err
	}
	t.head = id
	return nil
}

// Children lists the nodes directly under one; under the zero UUID, the roots.
func (t *Tree) Children(id snapshot.UUID) (out []Node) {
	for _, n := range t.nodes {
		if n.Parent == id {
			out = append(out, n)
		}
	}
	return out
}

// NotFound says that no snapshot is named so, or several are.
type NotFound struct {
	Name string
	Like []string // tags that a prefix could mean
}

func (e *NotFound) Error() string {
	if len(e.Like) > 0 {
		return fmt.Sprintf("%q could be any of %s", e.Name, strings.Join(e.Like, ", "))
	}
	return fmt.Sprintf("no snapshot is named %q", e.Name)
}

// Find finds a snapshot by its tag, or by the beginning of its id, of at least four
// characters.
func (t *Tree) Find(name string) (Node, error) {
	var like []Node
	for _, n := range t.nodes {
		if n.Tag == name {
			return n, nil
		}
		if len(name) >= 4 && strings.HasPrefix(n.ID.String(), name) {
			like = append(like, n)
		}
	}
	if len(like) == 1 {
		return like[0], nil
	}
	e := &NotFound{Name: name}
	for _, n := range like {
		e.Like = append(e.Like, n.Tag)
	}
	return Node{}, e
}

// NewTag is a tag that no snapshot has yet.
func (t *Tree) NewTag() string {
	for i := len(t.nodes) + 1; ; i++ {
		tag := fmt.Sprintf("s%d", i)
		if !t.hasTag(tag) {
			return tag
		}
	}
}

func (t *Tree) hasTag(tag string) bool {
	return slices.ContainsFunc(t.nodes, func(n Node) bool { return n.Tag == tag })
}

const (
	maxTag     = 40      // characters
	maxMessage = 1000    // bytes
	maxNode    = 1 << 20 // bytes of a node's file
)

// CheckTag says whether a new snapshot may have the tag.
func (t *Tree) CheckTag(tag string) error {
	if tag == "" || len(tag) > maxTag || strings.Trim(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" {
		return fmt.Errorf("a tag is 1 to %d letters, digits and - _ . , not %.80q", maxTag, tag)
	}
	if t.hasTag(tag) {
		return fmt.Errorf("there is a snapshot %q already", tag)
	}
	return nil
}

// File is where a file of the tree's directory lies.
func (t *Tree) File(name string) string { return filepath.Join(t.dir, name) }

// Path is where the machine of a snapshot lies.
func (t *Tree) Path(id snapshot.UUID) string { return filepath.Join(t.dir, id.FileName()) }

// Machine opens the machine of a snapshot, and checks that it is the node's.
func (t *Tree) Machine(n Node) (*snapshot.File, error) {
	f, err := snapshot.Open(t.fs, t.Path(n.ID))
	if err != nil {
		return nil, err
	}
	if root := f.Root(); hex.EncodeToString(root[:]) != n.Root || f.Meta().UUID != n.ID {
		return nil, errors.Join(fmt.Errorf("snapshot %q: its file holds machine %x, not %s", n.Tag, root, n.Root), f.Close())
	}
	return f, nil
}

// envelope is a node's file: the node and the sha256 of its bytes.
type envelope struct {
	Format int             `json:"format"`
	Sum    string          `json:"sha256"`
	Node   json.RawMessage `json:"node"`
}

const format = 1

func (t *Tree) read(name string) (n Node, err error) {
	b, err := t.readAll(name)
	if err != nil {
		return n, err
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return n, fmt.Errorf("is damaged: %w", err)
	}
	if e.Format > format {
		return n, fmt.Errorf("has format %d; this build of godwit reads up to %d", e.Format, format)
	}
	if sum := sha256.Sum256(e.Node); hex.EncodeToString(sum[:]) != e.Sum {
		return n, errors.New("is damaged: does not match its checksum")
	}
	return n, json.Unmarshal(e.Node, &n)
}

func (t *Tree) readAll(name string) ([]byte, error) {
	f, err := t.fs.Open(filepath.Join(t.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxNode {
		return nil, fmt.Errorf("is %d bytes, at most %d", size, maxNode)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// write writes a node's file.
func (t *Tree) write(n *Node) error {
	raw, err := json.Marshal(n)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	b, err := json.Marshal(envelope{format, hex.EncodeToString(sum[:]), raw})
	if err != nil {
		return err
	}
	return t.replace(n.ID.String()+nodeExt, append(b, '\n'))
}

func (t *Tree) replace(name string, b []byte) error {
	return snapshot.Replace(t.fs, filepath.Join(t.dir, name), b)
}
