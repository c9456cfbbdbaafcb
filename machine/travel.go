package machine

import (
	"context"
	"fmt"

	migrate "godwit/migrate/stopped"
	"godwit/snapshot"
)

// source is a machine that stands still, as a file or a peer takes it.
type source struct {
	pages
	secs []snapshot.Section
	root [32]byte
}

func (s *source) Sections() []snapshot.Section { return s.secs }
func (s *source) Root() [32]byte               { return s.root }

// Source gives the machine to migrate.Send. It must not run until that is over.
func (m *Machine) Source() (migrate.Source, error) {
	if err := m.SyncDisks(context.Background()); err != nil {
		return nil, err
	}
	secs, err := m.Sections()
	if err != nil {
		return nil, err
	}
	p := pages{m, m.mem.Leaves()}
	root, err := snapshot.Root(p.Pages(), p.Leaf, secs)
	return &source{p, secs, root}, err
}

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
	in := &Incoming{Host: host}
	secs, err := f.Sections()
	if err != nil {
		return nil, err
	}
	if _, err := in.Prepare(secs); err != nil {
		return nil, err
	}
	if err := f.LoadAll(ctx, in.M.mem); err != nil {
		in.M.Close()
		return nil, err
	}
	root, err := in.Finish(secs)
	if err == nil && root != f.Root() {
		err = fmt.Errorf("state hash is %x after loading, the file says %x", root, f.Root())
	}
	if err != nil {
		in.M.Close()
		return nil, err
	}
	return in.M, nil
}

// Incoming is the destination of migrate.Receive: it builds the machine from
// what arrives. Its methods are called in order, on one goroutine.
type Incoming struct {
	Host  Host
	Check func(Config) error // may refuse a configuration; nil: takes all
	Start func(*Machine) error
	M     *Machine // once prepared
}

// Prepare builds the machine that the sections describe.
func (in *Incoming) Prepare(secs []snapshot.Section) (snapshot.Sink, error) {
	m, err := FromSections(secs, in.Host)
	if err != nil {
		return nil, err
	}
	if in.Check != nil {
		if err := in.Check(m.cfg); err != nil {
			m.Close()
			return nil, err
		}
	}
	in.M = m
	return m.mem, nil
}

// Finish decodes the state and computes the hash of what the machine holds.
func (in *Incoming) Finish(secs []snapshot.Section) ([32]byte, error) {
	if err := in.M.Restore(secs); err != nil {
		return [32]byte{}, err
	}
	return in.M.Hash()
}

// Activate hands the machine over to whoever runs it.
func (in *Incoming) Activate() error {
	if in.Start == nil {
		return nil
	}
	return in.Start(in.M)
}
