package migrate

import (
	"crypto/sha256"
	"fmt"

	"godwit/snapshot"
)

// maxData is the most bytes of a section in one DATA frame.
const maxData = 256 << 10

// saySections queues sections under a head: CONFIG or DEVSTATE.
func (c *Conn) saySections(t frameType, secs []snapshot.Section) (total uint64, err error) {
	sorted, err := snapshot.Sorted(secs)
	if err != nil {
		return 0, err
	}
	for i := range sorted {
		total += uint64(len(sorted[i].Data))
	}
	c.say(t, &sectionCount{uint32(len(sorted)), total})
	for i := range sorted {
		s := &sorted[i]
		c.say(frSection, &sectionHead{s.Name, s.Instance, s.Version, s.Required, s.State, uint64(len(s.Data)), sha256.Sum256(s.Data)})
		for d := s.Data; len(d) > 0; {
			n := min(len(d), maxData)
			c.put(frData, 0, d[:n])
			d = d[n:]
		}
	}
	return total, nil
}

// sectionsIn gathers sections from hostile frames.
type sectionsIn struct {
	left  uint32 // sections still to come
	total uint64 // bytes still to come
	head  *sectionHead
	data  []byte
	secs  []snapshot.Section
}

func (in *sectionsIn) begin(n *sectionCount) error {
	if n.Sections > snapshot.MaxSections || n.Bytes > snapshot.MaxSectionTotal {
		return fmt.Errorf("%d sections with %d bytes, at most %d with %d", n.Sections, n.Bytes, snapshot.MaxSections, snapshot.MaxSectionTotal)
	}
	*in = sectionsIn{left: n.Sections, total: n.Bytes}
	return nil
}

// complete tells whether everything announced has come.
func (in *sectionsIn) complete() bool { return in.left == 0 && in.head == nil }

func (in *sectionsIn) section(h *sectionHead) error {
	if in.left == 0 || in.head != nil {
		return fmt.Errorf("section %.80q is not due", h.Name)
	}
	if h.Size > in.total || h.Size > snapshot.MaxSectionBytes {
		return fmt.Errorf("section %.80q holds %d bytes, %d are announced", h.Name, h.Size, in.total)
	}
	s := snapshot.Section{Name: h.Name, Instance: h.Instance, Version: h.Version, Required: h.Required, State: h.State}
	if err := s.Check(); err != nil {
		return err
	}
	in.head, in.data = h, nil
	in.left--
	in.total -= h.Size
	return in.close()
}

func (in *sectionsIn) more(b []byte) error {
	if in.head == nil || len(b) == 0 || uint64(len(in.data)+len(b)) > in.head.Size {
		return fmt.Errorf("%d bytes of a section are not due", len(b))
	}
	in.data = append(in.data, b...)
	return in.close()
}

// close takes the section over if its data is all here.
func (in *sectionsIn) close() error {
	h := in.head
	if uint64(len(in.data)) < h.Size {
		return nil
	}
	if sha256.Sum256(in.data) != h.Sum {
		return fmt.Errorf("section %q does not match its sha256", h.Name)
	}
	in.secs = append(in.secs, snapshot.Section{Name: h.Name, Instance: h.Instance, Version: h.Version, Required: h.Required, State: h.State, Data: in.data})
	in.head, in.data = nil, nil
	if !in.complete() {
		return nil
	}
	if in.total != 0 {
		return fmt.Errorf("sections hold %d bytes less than announced", in.total)
	}
	var err error
	in.secs, err = snapshot.Sorted(in.secs) // no two of one name
	return err
}
