package machine

import (
	"context"
	"fmt"

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
	secs = append(secs, m.workingSet())
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
