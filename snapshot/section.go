package snapshot

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds on sections, for writers and hostile readers alike.
const (
	MaxSections     = 4096    // sections in one file or transfer
	MaxSectionBytes = 1 << 28 // bytes of one section
	MaxSectionTotal = 1 << 29 // bytes of all sections together
	MaxSectionName  = 64      // bytes of a name
	MaxInstanceName = 128     // bytes of an instance
)

// Section is one named piece of a machine that is not memory: a vCPU, a chip,
// the clock, the configuration. (Name, Instance) is unique in a machine.
type Section struct {
	Name     string // kind of thing: "uart"; 1 to 64 printable ASCII bytes, no spaces
	Instance string // which one: "uart0"; may be empty, otherwise as Name, up to 128
	Version  uint16 // version of Data's schema
	Required bool   // a reader that does not know Name must refuse; implied by State
	State    bool   // guest-visible: Data enters the state hash
	Data     []byte // canonical CBOR
}

// ID is the section's name for people: "uart/uart0", or "clock" alone.
func (s *Section) ID() string {
	if s.Instance == "" {
		return s.Name
	}
	return s.Name + "/" + s.Instance
}

func compareSections(a, b Section) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.Instance, b.Instance)
}

// Check says whether one section keeps to the bounds.
func (s *Section) Check() error {
	if err := checkName("name", s.Name, 1, MaxSectionName); err != nil {
		return err
	}
	if err := checkName("instance", s.Instance, 0, MaxInstanceName); err != nil {
		return err
	}
	if len(s.Data) > MaxSectionBytes {
		return fmt.Errorf("section %s holds %d bytes, at most %d", s.ID(), len(s.Data), MaxSectionBytes)
	}
	return nil
}

func checkName(what, s string, low, high int) error {
	if len(s) < low || len(s) > high {
		return fmt.Errorf("section %s %.80q is %d bytes long, want %d to %d", what, s, len(s), low, high)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return fmt.Errorf("section %s %q has byte %#02x, want printable ASCII", what, s, s[i])
		}
	}
	return nil
}

// Sorted returns the sections in canonical order, (Name, Instance) ascending by
// bytes, after checking every bound and that no two share a name. State implies
// Required in the result. The argument is left as it is.
func Sorted(secs []Section) ([]Section, error) {
	if len(secs) > MaxSections {
		return nil, fmt.Errorf("sections: %d of them, at most %d", len(secs), MaxSections)
	}
	out := slices.Clone(secs)
	slices.SortFunc(out, compareSections)
	total := 0
	for i := range out {
		s := &out[i]
		if err := s.Check(); err != nil {
			return nil, err
		}
		if i > 0 && compareSections(out[i-1], *s) == 0 {
			return nil, fmt.Errorf("section %s occurs twice", s.ID())
		}
		s.Required = s.Required || s.State
		total += len(s.Data)
	}
	if total > MaxSectionTotal {
		return nil, fmt.Errorf("sections hold %d bytes together, at most %d", total, MaxSectionTotal)
	}
	return out, nil
}

// Find returns the section of that name and instance, or nil.
func Find(secs []Section, name, instance string) *Section {
	for i := range secs {
		if secs[i].Name == name && secs[i].Instance == instance {
			return &secs[i]
		}
	}
	return nil
}

// CheckKnown refuses sections this build cannot give a meaning to. newest tells
// the newest version known of a section name, and whether the name is known at
// all. An unknown section that is not required is left for the caller to skip.
func CheckKnown(secs []Section, newest func(name string) (uint16, bool)) error {
	for i := range secs {
		s := &secs[i]
		v, ok := newest(s.Name)
		if ok && s.Version <= v {
			continue
		}
		if ok || s.Required {
			return &UnknownSection{ID: s.ID(), Version: s.Version, Newest: v, NameKnown: ok}
		}
	}
	return nil
}
