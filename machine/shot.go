package machine

import (
	"godwit/devices"
	"godwit/mem"
	"godwit/snapshot"
)

// Shot is a machine at one moment. It stays as it is, readable by another
// goroutine, while the machine runs on.
type Shot struct {
	Count uint64
	Time  devices.Nanos
	CPU   string // model

	secs    []snapshot.Section // all but the images
	images  func() (Images, error)
	epoch   *mem.Epoch
	changed []uint64 // nil: all pages count as changed
}

// Shoot takes a shot. Of memory it keeps the pages of changed, a bit for each
// arena page; nil: all. pool bounds how many pages the guest may write before
// they were read, in pages: then it stalls. Only the machine's goroutine calls
// Shoot and Close.
func (m *Machine) Shoot(changed []uint64, pool int) (*Shot, error) {
	secs, err := m.stateSections()
	if err != nil {
		return nil, err
	}
	var e encoder
	e.add(secConfig, "", false, &m.cfg)
	if e.err != nil {
		return nil, e.err
	}
	s := &Shot{Count: m.Count(), Time: m.Now(), CPU: m.cfg.CPU, secs: append(secs, e.secs...), changed: changed, images: m.fetch}
	if im := m.images; m.fetch == nil {
		s.images = func() (Images, error) { return im, nil }
	}
	if changed == nil {
		s.epoch = m.mem.Epoch(pool)
	} else {
		s.epoch = m.mem.EpochOf(pool, changed)
	}
	return s, nil
}

// Sections are the machine's. Any goroutine may call it: large images are encoded
// here and not while the machine stands.
func (s *Shot) Sections() ([]snapshot.Section, error) {
	im, err := s.images()
	if err != nil {
		return nil, err
	}
	var e encoder
	e.add(secImages, "", false, &im)
	return append(e.secs, s.secs...), e.err
}

// Close lets go of the shot's memory. Nobody may be reading.
func (s *Shot) Close() { s.epoch.Close() }

// Changed tells whether the shot keeps the page.
func (s *Shot) Changed(p uint32) bool {
	return s.changed == nil || s.changed[p>>6]&(1<<(p&63)) != 0
}

// Pages is the number of arena pages.
func (s *Shot) Pages() uint32 { return s.epoch.Pages() }

// Present tells whether the page was ever written.
func (s *Shot) Present(p uint32) bool { return s.epoch.Present(p) }

// Peek copies a page that the shot keeps and that was not read yet.
func (s *Shot) Peek(p uint32, b *[snapshot.PageSize]byte) { s.epoch.Read(p, b) }

// Read copies a page that the shot keeps. Each page is read once.
func (s *Shot) Read(p uint32, b *[snapshot.PageSize]byte) {
	s.epoch.Read(p, b)
	s.epoch.Done(p)
}

// Changes is which pages changed since a machine was the one in a snapshot.
type Changes struct {
	c    *mem.Consumer
	bits []uint64 // harvested, but in no snapshot yet
	next []uint64
}

// Changes begins to count changes. Only the machine's goroutine uses the result.
func (m *Machine) Changes() *Changes {
	return &Changes{c: m.mem.Consumer("snapshot")}
}

// Since is what changed up to now; the caller keeps it. Until Settled the next
// call has it too.
func (c *Changes) Since() []uint64 {
	c.next = c.c.Harvest(c.next)
	if c.bits == nil {
		c.bits = make([]uint64, len(c.next))
	}
	for i, w := range c.next {
		c.bits[i] |= w
	}
	return append([]uint64(nil), c.bits...)
}

// Settled says that what the last Since returned is in a snapshot.
func (c *Changes) Settled() { clear(c.bits) }

// Close stops counting.
func (c *Changes) Close() { c.c.Release() }
