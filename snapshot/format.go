package snapshot

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/zeebo/xxh3"
)

// The file, all integers little endian [docs/format/snapshot.md]:
//
//	superblock 4096 | sections | {chunks, group block} ... | index | trailer 56
const (
	Format    = 1 // what this build writes, and the newest it reads
	minReader = 1 // oldest reader of what it writes

	magicFile    = "GODWIT\x1a\n" // the control characters stop `type` and catch text-mode copies
	magicIndex   = "GODWITix"
	magicTrailer = "GODWITok"

	superSize   = 4096
	superSum    = superSize - 8 // xxh3-64 of the bytes before it
	trailerSize = 56
	indexHead   = 48
	groupEntry  = 56
	maxIndex    = 1 << 28 // bytes

	maxChunkPages = 64
	maxCPUModel   = 64
)

var le = binary.LittleEndian

// UUID names a snapshot. The zero UUID means none.
type UUID [16]byte

// NewUUID returns a random (version 4) UUID. For the host side only: nothing a
// guest can see may depend on it.
func NewUUID() UUID {
	var u UUID
	rand.Read(u[:]) // never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// String is the usual text form.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// MarshalText is String, for JSON.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads the usual text form.
func (u *UUID) UnmarshalText(b []byte) error {
	var v UUID
	s := string(b)
	if len(s) == 36 {
		if n, err := hex.Decode(v[:], []byte(s[:8]+s[9:13]+s[14:18]+s[19:23]+s[24:])); err == nil && n == len(v) && v.String() == s {
			*u = v
			return nil
		}
	}
	return fmt.Errorf("%.60q is not a UUID", s)
}

// Meta is what the superblock tells about a snapshot. It informs people and
// tools; what the machine is made of lies in the sections.
type Meta struct {
	UUID     UUID   // of this snapshot; zero: Write makes one
	Parent   UUID   // snapshot it builds on; zero: none
	Count    uint64 // the machine's count at the moment it holds
	Created  int64  // host time, Unix nanoseconds
	CPUModel string // at most 64 bytes of printable ASCII
	Pages    uint32 // of memory; Write takes it from its Pages
}

func (m *Meta) superblock() ([]byte, error) {
	if err := checkName("cpu model", m.CPUModel, 0, maxCPUModel); err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, superSize), magicFile...)
	b = le.AppendUint16(b, Format)
	b = le.AppendUint16(b, minReader)
	b = le.AppendUint32(b, PageSize)
	b = append(b, m.UUID[:]...)
	b = append(b, m.Parent[:]...)
	b = le.AppendUint64(b, m.Count)
	b = le.AppendUint64(b, uint64(m.Created))
	b = le.AppendUint64(b, 0) // flags
	b = le.AppendUint32(b, m.Pages)
	b = le.AppendUint32(b, 0)
	b = append(b, m.CPUModel...)
	b = b[:superSum] // make left zeros
	return le.AppendUint64(b, xxh3.Hash(b)), nil
}

func parseSuperblock(b []byte) (Meta, error) {
	if xxh3.Hash(b[:superSum]) != le.Uint64(b[superSum:]) {
		return Meta{}, altered("superblock", nil)
	}
	if r := le.Uint16(b[10:]); r > Format {
		return Meta{}, &NewerFormat{Have: r, Want: Format}
	}
	if n := le.Uint32(b[12:]); n != PageSize {
		return Meta{}, altered("superblock", fmt.Errorf("page size %d, want %d", n, PageSize))
	}
	m := Meta{
		UUID: UUID(b[16:32]), Parent: UUID(b[32:48]),
		Count: le.Uint64(b[48:]), Created: int64(le.Uint64(b[56:])), Pages: le.Uint32(b[72:]),
		CPUModel: string(bytes.TrimRight(b[80:80+maxCPUModel], "\x00")),
	}
	if err := checkName("cpu model", m.CPUModel, 0, maxCPUModel); err != nil {
		return Meta{}, altered("superblock", err)
	}
	return m, nil
}

// extent is a checked stretch of the file.
type extent struct {
	off uint64
	len uint64
	sum uint64 // xxh3-64 of the stored bytes
}

// sectionEntry is a section's place in the index.
type sectionEntry struct {
	Section // without Data
	extent
	codec Codec
	size  uint64           // bytes of Data
	sha   [DigestSize]byte // of Data
}

// inherited tells that the data is the parent's.
func (e *sectionEntry) inherited() bool { return e.len == 0 && e.size != 0 }

const (
	flagRequired = 1 << 0
	flagState    = 1 << 1
)

func (e *sectionEntry) append(b []byte) []byte {
	flags := byte(0)
	if e.Required {
		flags |= flagRequired
	}
	if e.State {
		flags |= flagState
	}
	b = le.AppendUint16(b, uint16(len(e.Name)))
	b = append(b, e.Name...)
	b = le.AppendUint16(b, uint16(len(e.Instance)))
	b = append(b, e.Instance...)
	b = le.AppendUint16(b, e.Version)
	b = append(b, flags, byte(e.codec))
	b = le.AppendUint64(b, e.off)
	b = le.AppendUint64(b, e.len)
	b = le.AppendUint64(b, e.size)
	b = le.AppendUint64(b, e.sum)
	return append(b, e.sha[:]...)
}

func (e *sectionEntry) summary() sectionSum {
	return sectionSum{e.Name, e.Instance, e.Version, e.size, e.sha}
}

// groupRef is a group's place in the index; a group that is all zero has none.
type groupRef struct {
	group  uint32
	extent // of its block; zero: the group is the parent's, block and all
	digest [DigestSize]byte
}

func (r *groupRef) inherited() bool { return r.len == 0 }

// index is the root of the file: everything else is found and checked from it.
type index struct {
	root     [DigestSize]byte
	sections []sectionEntry
	groups   []groupRef
}

func (x *index) encode() []byte {
	b := append([]byte(nil), magicIndex...)
	b = le.AppendUint32(b, uint32(len(x.sections)))
	b = le.AppendUint32(b, uint32(len(x.groups)))
	b = append(b, x.root[:]...)
	for i := range x.sections {
		b = x.sections[i].append(b)
	}
	for i := range x.groups {
		g := &x.groups[i]
		b = le.AppendUint32(b, g.group)
		b = le.AppendUint32(b, uint32(g.len))
		b = le.AppendUint64(b, g.off)
		b = le.AppendUint64(b, g.sum)
		b = append(b, g.digest[:]...)
	}
	return b
}

// computeRoot is the state hash that the index's digests add up to.
func (x *index) computeRoot(pages uint32) [DigestSize]byte {
	var sums []sectionSum
	for i := range x.sections {
		if x.sections[i].State {
			sums = append(sums, x.sections[i].summary())
		}
	}
	i := 0
	return rootOf(pages, func(g uint32) [DigestSize]byte {
		if i < len(x.groups) && x.groups[i].group == g {
			i++
			return x.groups[i-1].digest
		}
		return zeroGroupOf(g, pages)
	}, sums)
}

func zeroGroupOf(g, pages uint32) [DigestSize]byte {
	if groupSize(g, pages) == GroupPages {
		return zeroGroup
	}
	return Group(g, pages, func(uint32) [LeafSize]byte { return zeroLeaf })
}

// cursor reads fields of hostile bytes; past the end it yields zeros and
// remembers that it did.
type cursor struct {
	b     []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.short, c.b = true, nil
		return make([]byte, n) // n is at most 65535 here: a u16 length or a constant
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) u8() uint8      { return c.take(1)[0] }
func (c *cursor) u16() uint16    { return le.Uint16(c.take(2)) }
func (c *cursor) u32() uint32    { return le.Uint32(c.take(4)) }
func (c *cursor) u64() uint64    { return le.Uint64(c.take(8)) }
func (c *cursor) string() string { return string(c.take(int(c.u16()))) }

var errShort = errors.New("ends too early")

// parseIndex reads an index whose sha256 was already found right, for a file
// whose data ends at limit. It trusts nothing else.
func parseIndex(b []byte, pages uint32, limit uint64) (*index, error) {
	c := cursor{b: b}
	if string(c.take(8)) != magicIndex {
		return nil, errors.New("does not begin with " + magicIndex)
	}
	ns, ng := c.u32(), c.u32()
	x := &index{root: [DigestSize]byte(c.take(DigestSize))}
	if ns > MaxSections {
		return nil, fmt.Errorf("%d sections, at most %d", ns, MaxSections)
	}
	if err := x.parseSections(&c, int(ns), limit); err != nil {
		return nil, err
	}
	if uint64(len(c.b)) != uint64(ng)*groupEntry {
		return nil, fmt.Errorf("%d bytes for %d groups, want %d", len(c.b), ng, uint64(ng)*groupEntry)
	}
	if err := x.parseGroups(&c, int(ng), pages, limit); err != nil {
		return nil, err
	}
	if got := x.computeRoot(pages); got != x.root {
		return nil, fmt.Errorf("state hash is %x, its parts make %x", x.root, got)
	}
	return x, nil
}

func (x *index) parseSections(c *cursor, n int, limit uint64) error {
	total := uint64(0)
	for i := range n {
		e := parseSection(c)
		if c.short {
			return errShort
		}
		if err := e.check(limit); err != nil {
			return err
		}
		if i > 0 && compareSections(x.sections[i-1].Section, e.Section) >= 0 {
			return fmt.Errorf("section %s is out of order", e.ID())
		}
		if total += e.size; total > MaxSectionTotal {
			return fmt.Errorf("sections hold %d bytes together, at most %d", total, MaxSectionTotal)
		}
		x.sections = append(x.sections, e)
	}
	return nil
}

func parseSection(c *cursor) (e sectionEntry) {
	e.Name = c.string()
	e.Instance = c.string()
	e.Version = c.u16()
	flags := c.u8()
	e.Required, e.State = flags&flagRequired != 0, flags&flagState != 0
	e.codec = Codec(c.u8())
	e.off, e.len, e.size, e.sum = c.u64(), c.u64(), c.u64(), c.u64()
	e.sha = [DigestSize]byte(c.take(DigestSize))
	return e
}

func (e *sectionEntry) check(limit uint64) error {
	if err := e.Section.Check(); err != nil {
		return err
	}
	if e.State && !e.Required {
		return fmt.Errorf("section %s is state but not required", e.ID())
	}
	if e.size > MaxSectionBytes {
		return fmt.Errorf("section %s holds %d bytes, at most %d", e.ID(), e.size, MaxSectionBytes)
	}
	if e.inherited() {
		if e.off != 0 || e.sum != 0 || e.codec != None {
			return fmt.Errorf("section %s is the parent's, but names a place", e.ID())
		}
		return nil
	}
	if e.len > e.size {
		return fmt.Errorf("section %s is stored in %d bytes, more than its %d", e.ID(), e.len, e.size)
	}
	return e.within(limit)
}

// within checks that the extent lies between superblock and index.
func (e *extent) within(limit uint64) error {
	if e.off < superSize || e.off > limit || e.len > limit-e.off {
		return fmt.Errorf("%d bytes at %d lie outside %d to %d", e.len, e.off, superSize, limit)
	}
	return nil
}

func (x *index) parseGroups(c *cursor, n int, pages uint32, limit uint64) error {
	x.groups = make([]groupRef, 0, n) // n*56 bytes were there to read
	next := uint64(0)
	for range n {
		var r groupRef
		r.group, r.len = c.u32(), uint64(c.u32())
		r.off, r.sum = c.u64(), c.u64()
		r.digest = [DigestSize]byte(c.take(DigestSize))
		if uint64(r.group) < next || r.group >= Groups(pages) {
			return fmt.Errorf("group %d, want %d to %d", r.group, next, Groups(pages)-1)
		}
		if err := r.check(limit); err != nil {
			return fmt.Errorf("group %d: %w", r.group, err)
		}
		next = uint64(r.group) + 1
		x.groups = append(x.groups, r)
	}
	return nil
}

// check bounds the group's block. Whether there is a parent that has an inherited
// one is for the reader of the whole file to say.
func (r *groupRef) check(limit uint64) error {
	switch {
	case r.inherited() && (r.off != 0 || r.sum != 0):
		return errors.New("is the parent's, but names a place")
	case r.inherited():
		return nil
	case r.len > maxBlock:
		return fmt.Errorf("block of %d bytes, at most %d", r.len, maxBlock)
	}
	return r.within(limit)
}

func trailer(off uint64, super, index []byte) []byte {
	b := le.AppendUint64(nil, off)
	b = le.AppendUint64(b, uint64(len(index)))
	sum := trailerSum(super, index)
	return append(append(b, sum[:]...), magicTrailer...)
}

// trailerSum ties the index to its superblock.
func trailerSum(super, index []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(super)
	h.Write(index)
	h.Sum(sum[:0])
	return sum
}
