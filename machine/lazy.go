package machine

import (
	"context"
	"errors"
	"fmt"

	"godwit/mem"
	"godwit/snapshot"
)

// Loader brings a machine that runs already the pages that a file still holds.
type Loader struct {
	m *Machine
	f *snapshot.File

	err error // why the last page could not be had; of the machine's goroutine
}

// LoadLazily builds the machine that a file holds without reading its memory, but for
// the few pages that its next instruction needs: each page comes when it is needed, by
// way of the Loader, checked before the guest can see it. That the file is whole down
// to the hashes of its pages, and that the state is the one that was saved, is checked
// here. first are pages to bring at once.
func LoadLazily(f *snapshot.File, host Host, first []uint32) (*Machine, *Loader, error) {
	read := readAhead(f)
	m, err := fromSmall(f, host)
	if err != nil {
		<-read // the caller may close the file
		return nil, nil, err
	}
	l := &Loader{m: m, f: f}
	err = l.begin()
	for _, r := range <-read {
		if err == nil && r.page < m.mem.Pages() {
			m.mem.FillChecked(r.page, &r.content)
		}
	}
	if err == nil {
		err = l.bringAll(first)
	}
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	return m, l, nil
}

// fromSmall builds the machine of a file. Its images are left in the file where
// only a reset needs them: a BIOS shapes memory.
func fromSmall(f *snapshot.File, host Host) (*Machine, error) {
	secs := f.Small()
	var cfg Config
	if err := section(secs, secConfig, "", &cfg); err != nil {
		return nil, unusable(err)
	}
	if snapshot.Find(secs, secImages, "") != nil || uint64(f.Pages())<<mem.PageShift != cfg.Memory {
		all, err := f.Sections()
		if err != nil {
			return nil, err
		}
		return FromSections(all, host)
	}
	m, err := New(cfg, Images{}, host)
	if err != nil {
		return nil, unusable(err)
	}
	m.fetch = func() (im Images, err error) {
		all, err := f.Sections()
		if err == nil {
			err = section(all, secImages, "", &im)
		}
		return im, err
	}
	return m, nil
}

func (l *Loader) begin() error {
	if err := l.m.mem.Later(l.f.MayHold(), l.f.Leaf); err != nil {
		return err
	}
	if err := l.m.Restore(l.f.Small()); err != nil {
		return err
	}
	return l.checkState()
}

func (l *Loader) bringAll(pages []uint32) error {
	for _, p := range pages {
		if p < l.m.mem.Pages() && !l.m.mem.Here(p) {
			if err := l.bring(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkState compares the machine's state, encoded anew, with what was saved.
func (l *Loader) checkState() error {
	secs, err := l.m.stateSections()
	if err != nil {
		return err
	}
	root, err := snapshot.RootOfGroups(l.f.Pages(), l.f.GroupDigest, secs)
	if err == nil && root != l.f.Root() {
		err = fmt.Errorf("state hash is %x after loading, the file says %x", root, l.f.Root())
	}
	return err
}

// bring brings a page and those that come with it. For the machine's goroutine.
func (l *Loader) bring(p uint32) error {
	return l.f.ReadNear(p, l.m.mem.FillChecked)
}

// Pull brings the page that the machine waits for, after Run returned Stalled. It
// does nothing where it waits for something else. For the machine's goroutine. An
// error names the page; Pull may be tried again.
func (l *Loader) Pull() error {
	if r := l.m.Stall(); r.Why == mem.PageAbsent && !l.m.mem.Here(r.Page) {
		l.err = l.bring(r.Page)
	}
	return l.err
}

// batch is how many pages Fill brings at a time: half a millisecond's work for the
// machine's goroutine.
const batch = 256

// Fill brings all that is missing while the machine runs, which do has functions run
// on the goroutine of. Progress is told how many pages are still to come.
func (l *Loader) Fill(ctx context.Context, do func(func() error) error, progress func(missing int)) error {
	var gone []uint64
	if err := do(func() error { gone = l.m.mem.Gone(nil); return nil }); err != nil {
		return err
	}
	b := make([][mem.PageSize]byte, 0, batch)
	at := make([]uint32, 0, batch)
	flush := func() error {
		return do(func() error {
			for i := range b {
				l.m.mem.FillChecked(at[i], &b[i])
			}
			b, at = b[:0], at[:0]
			progress(l.m.mem.Missing())
			return nil
		})
	}
	for w, word := range gone {
		for i := uint32(0); word>>i != 0; i++ {
			if word>>i&1 == 0 {
				continue
			}
			p := uint32(w)*64 + i
			b, at = b[:len(b)+1], append(at, p)
			if err := errors.Join(ctx.Err(), l.f.ReadPage(p, &b[len(b)-1])); err != nil {
				return err
			}
			if len(b) == batch {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return do(l.m.fetchImages)
}

// All brings all that is missing at once. For the machine's goroutine.
func (l *Loader) All(ctx context.Context) error {
	return l.Fill(ctx, func(f func() error) error { return f() }, func(int) {})
}

// Trouble is why Run returned Paused where it was the host's fault: images that
// could not be read. Run tries again.
func (m *Machine) Trouble() error { return m.trouble }

// fetchImages reads the images that were left where they are.
func (m *Machine) fetchImages() error {
	if m.fetch == nil {
		return nil
	}
	im, err := m.fetch()
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	m.images, m.fetch = im, nil
	return nil
}
