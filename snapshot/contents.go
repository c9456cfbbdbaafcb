package snapshot

import (
	"context"
	"encoding/hex"
)

// Contents tells what a file holds: this one, not those that it builds on.
type Contents struct {
	Sections []SectionInfo `json:"sections"`
	Pages    PageKinds     `json:"pages"`
	Chunks   []ChunkKind   `json:"chunks"`
	Index    uint64        `json:"index_bytes"` // superblock, index, trailer and the groups' blocks
}

// SectionInfo is one section.
type SectionInfo struct {
	Name      string `json:"name"` // with its instance
	Version   uint16 `json:"version"`
	Required  bool   `json:"required"`
	State     bool   `json:"state"`
	Bytes     uint64 `json:"bytes"`  // of its data
	Stored    uint64 `json:"stored"` // in the file
	Codec     string `json:"codec"`
	Inherited bool   `json:"inherited,omitempty"` // the parent's
	SHA256    string `json:"sha256"`
}

// PageKinds counts pages of memory.
type PageKinds struct {
	Total     uint32 `json:"total"`
	Zero      uint32 `json:"zero"`   // they take no room
	Stored    uint32 `json:"stored"` // with content in this file
	Dup       uint32 `json:"dup"`    // of them, those equal to one stored shortly before
	Inherited uint32 `json:"inherited"`
}

// ChunkKind counts pages that were compressed in one way.
type ChunkKind struct {
	Codec  string `json:"codec"`
	Chunks uint32 `json:"chunks"`
	Pages  uint32 `json:"pages"`
	Bytes  uint64 `json:"bytes"` // in the file
}

// Contents reads all of the index. An Altered error names the part that is.
func (f *File) Contents(ctx context.Context) (*Contents, error) {
	c := &Contents{Index: superSize + trailerSize + uint64(len(f.x.encode()))}
	for i := range f.x.sections {
		e := &f.x.sections[i]
		c.Sections = append(c.Sections, SectionInfo{
			Name: e.ID(), Version: e.Version, Required: e.Required, State: e.State,
			Bytes: e.size, Stored: e.len, Codec: e.codec.String(), Inherited: e.inherited(), SHA256: hex.EncodeToString(e.sha[:]),
		})
	}
	var kinds [256]ChunkKind // an unknown codec is named, too
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.x.groups {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r := &f.x.groups[i]
		if r.inherited() {
			n, err := f.parent.notZero(r.group)
			if err != nil {
				return nil, err
			}
			c.Pages.Inherited += n
			continue
		}
		k, err := f.blockOf(r)
		if err != nil {
			return nil, err
		}
		c.Index += r.len
		c.count(k, &kinds)
	}
	c.Pages.Total = f.meta.Pages
	c.Pages.Zero = c.Pages.Total - c.Pages.Stored - c.Pages.Inherited
	for i, k := range kinds {
		if k.Codec = Codec(i).String(); k.Chunks > 0 {
			c.Chunks = append(c.Chunks, k)
		}
	}
	return c, nil
}

func (c *Contents) count(k *block, kinds *[256]ChunkKind) {
	for i := range k.chunks {
		h := &k.chunks[i]
		n := &kinds[h.codec]
		n.Chunks, n.Pages, n.Bytes = n.Chunks+1, n.Pages+uint32(h.pages), n.Bytes+h.len
	}
	type place struct {
		chunk uint16
		slot  uint8
	}
	seen := map[place]bool{}
	for i := range k.pages {
		p := &k.pages[i]
		if p.kind == pageInherited {
			c.Pages.Inherited++
			continue
		}
		c.Pages.Stored++
		at := place{p.chunk, p.slot}
		if seen[at] {
			c.Pages.Dup++
		}
		seen[at] = true
	}
}

// notZero is how many pages of a group are not zero.
func (f *File) notZero(group uint32) (uint32, error) {
	n, err := f.numbers(group * GroupPages)
	return uint32(len(n)), err
}
