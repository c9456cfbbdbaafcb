package migrate

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"godwit/snapshot"
)

// maxData is the most bytes of a section in one DATA frame.
const maxData = 256 << 10

// onDemand is the size from which the data of a section of the configuration
// travels only to who does not hold it: what a machine boots from, above all.
const onDemand = 64 << 10

// saySections queues sections under a head: CONFIG or DEVSTATE.
func (c *Conn) saySections(t frameType, secs []snapshot.Section) (total uint64, err error) {
	sorted, err := snapshot.Sorted(secs)
	if err != nil {
		return 0, err
	}
	later := func(s *snapshot.Section) bool { return !s.State && len(s.Data) >= onDemand }
	for i := range sorted {
		if !later(&sorted[i]) {
			total += uint64(len(sorted[i].Data))
		}
	}
	c.say(t, &sectionCount{uint32(len(sorted)), total})
	for i := range sorted {
		c.saySection(&sorted[i], later(&sorted[i]))
	}
	return total, nil
}

func (c *Conn) saySection(s *snapshot.Section, later bool) {
	c.say(frSection, &sectionHead{s.Name, s.Instance, s.Version, s.Required, s.State, uint64(len(s.Data)), sha256.Sum256(s.Data), later})
	if later {
		return
	}
	for d := s.Data; len(d) > 0; {
		n := min(len(d), maxData)
		c.put(frData, 0, d[:n])
		d = d[n:]
	}
}

// fetched sends the data of sections that the destination does not hold, once.
func (s *Source) fetched(m *fetch) error {
	for _, sum := range m.Sums {
		i := slices.IndexFunc(s.config, func(c snapshot.Section) bool {
			return !c.State && len(c.Data) >= onDemand && sha256.Sum256(c.Data) == sum
		})
		if i < 0 {
			return errorf(Protocol, "FETCH names data with sha256 %x, which was not offered", sum)
		}
		s.ctl.saySection(&s.config[i], false)
		s.config = slices.Delete(slices.Clone(s.config), i, i+1)
	}
	return nil
}

// sectionsIn gathers sections from hostile frames.
type sectionsIn struct {
	left  uint32 // sections still to come
	total uint64 // bytes still to come
	head  *sectionHead
	data  []byte
	secs  []snapshot.Section

	held  func(sum [DigestSize]byte, size uint64) []byte // data that need not travel, or nil
	wants []sectionHead                                  // on demand, and not held
	asked bool
}

func (in *sectionsIn) begin(n *sectionCount) error {
	if n.Sections > snapshot.MaxSections || n.Bytes > snapshot.MaxSectionTotal {
		return fmt.Errorf("%d sections with %d bytes, at most %d with %d", n.Sections, n.Bytes, snapshot.MaxSections, snapshot.MaxSectionTotal)
	}
	*in = sectionsIn{left: n.Sections, total: n.Bytes, held: in.held}
	return nil
}

// announced tells whether every section has come, or its head.
func (in *sectionsIn) announced() bool { return in.left == 0 && in.head == nil }

// complete tells whether everything announced has come.
func (in *sectionsIn) complete() bool { return in.announced() && len(in.wants) == 0 }

// fetch names the data to ask for; nil: none, or not yet.
func (in *sectionsIn) fetch() (sums [][DigestSize]byte) {
	if !in.announced() || in.asked || len(in.wants) == 0 {
		return nil
	}
	in.asked = true
	for i := range in.wants {
		sums = append(sums, in.wants[i].Sum)
	}
	return sums
}

func (in *sectionsIn) section(h *sectionHead) error {
	asked := in.asked && len(in.wants) > 0 && *h == in.wants[0]
	if in.head != nil || in.left == 0 && !asked {
		return fmt.Errorf("section %.80q is not due", h.Name)
	}
	if h.Size > snapshot.MaxSectionBytes || !h.OnDemand && !asked && h.Size > in.total {
		return fmt.Errorf("section %.80q holds %d bytes, %d are announced", h.Name, h.Size, in.total)
	}
	s := snapshot.Section{Name: h.Name, Instance: h.Instance, Version: h.Version, Required: h.Required, State: h.State}
	if err := s.Check(); err != nil {
		return err
	}
	switch in.head, in.data = h, nil; {
	case asked:
		in.wants = in.wants[1:]
	case h.OnDemand:
		in.left--
		return in.demand(h)
	default:
		in.left--
		in.total -= h.Size
	}
	return in.close()
}

// demand takes the data of a section from what is held, or will ask for it.
func (in *sectionsIn) demand(h *sectionHead) error {
	if h.State || in.held == nil {
		return fmt.Errorf("section %.80q is not sent on demand", h.Name)
	}
	if in.data = in.held(h.Sum, h.Size); uint64(len(in.data)) == h.Size {
		return in.close()
	}
	w := *h
	w.OnDemand = false // so it comes when asked for
	if in.head, in.data = nil, nil; h.Size > snapshot.MaxSectionTotal-in.wanted() {
		return fmt.Errorf("sections on demand hold more than %d bytes", snapshot.MaxSectionTotal)
	}
	in.wants = append(in.wants, w)
	return nil
}

func (in *sectionsIn) wanted() (bytes uint64) {
	for i := range in.wants {
		bytes += in.wants[i].Size
	}
	return bytes
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
