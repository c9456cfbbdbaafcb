package machine

import (
	"context"
	"fmt"
	"slices"

	"godwit/snapshot"
)

// Save writes the machine to a file. It must not run until that is over.
func (m *Machine) Save(ctx context.Context, l snapshot.Layer, path string, created int64, o snapshot.Options) (snapshot.Stats, error) {
	if err := m.SyncDisks(ctx); err != nil {
		return snapshot.Stats{}, err
	}
	secs, err := m.Sections()
	if err != nil {
		return snapshot.Stats{}, err
	}
	secs = append(secs, m.workingSet(), m.nextPages())
	meta := snapshot.Meta{Count: m.Count(), Created: created, CPUModel: m.cfg.CPU}
	return snapshot.Write(ctx, l, path, meta, secs, m.Pages(), o)
}

// Load builds the machine that a file holds and checks that it is the one that
// was saved before anything of it can run.
func Load(ctx context.Context, f *snapshot.File, host Host) (*Machine, error) {
	secs, err := f.Sections()
	if err != nil {
		return nil, err
	}
	return LoadAs(ctx, f, secs, host)
}

// Untimed has a machine with disks whose time follows the wall clock, as its sections
// describe it, go on in virtual time: then requests take a time that only they decide,
// and not the host. None may be under way. Other machines stay as they are.
func Untimed(secs []snapshot.Section) ([]snapshot.Section, error) {
	cfg, err := ConfigIn(secs)
	if err != nil || len(cfg.Disks) == 0 || cfg.Clock == ClockVirtual {
		return secs, err
	}
	cfg.Clock = ClockVirtual
	secs = slices.Clone(secs)
	snapshot.Find(secs, secConfig, "").Data, err = encode(&cfg)
	return secs, err
}

// LoadAs is Load with other sections that are no state than the file has.
func LoadAs(ctx context.Context, f *snapshot.File, secs []snapshot.Section, host Host) (*Machine, error) {
	m, err := FromSections(secs, host)
	if err != nil {
		return nil, err
	}
	if err := m.loadFile(ctx, f, secs); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// loadFile takes over what a file holds and checks it.
func (m *Machine) loadFile(ctx context.Context, f *snapshot.File, secs []snapshot.Section) error {
	if err := f.LoadAll(ctx, m.mem); err != nil {
		return err
	}
	if err := m.Restore(secs); err != nil {
		return err
	}
	root, err := m.Hash()
	if err == nil && root != f.Root() {
		err = fmt.Errorf("state hash is %x after loading, the file says %x", root, f.Root())
	}
	return err
}
