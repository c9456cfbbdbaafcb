package migrate

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
)

// other is a machine of another build: its sections are not quite ours.
type other struct {
	*machine.Departing
	change func([]snapshot.Section) []snapshot.Section
}

func (o *other) Stop() (migrate.Final, error) {
	f, err := o.Departing.Stop()
	if err != nil {
		return nil, err
	}
	return &otherFinal{f, o.change(f.Sections())}, nil
}

type otherFinal struct {
	migrate.Final
	secs []snapshot.Section
}

func (f *otherFinal) Sections() []snapshot.Section { return f.secs }

func (f *otherFinal) Root() [snapshot.DigestSize]byte {
	root, err := snapshot.Root(uint32(16<<20>>12), f.Leaf, f.secs)
	if err != nil {
		panic(err)
	}
	return root
}

// TestOtherSections: what is required and unknown, or missing, is refused by its
// name, and the guest stays; what is not required is left out.
func TestOtherSections(t *testing.T) {
	extra := func(s snapshot.Section) func([]snapshot.Section) []snapshot.Section {
		return func(secs []snapshot.Section) []snapshot.Section { return append(secs[:len(secs):len(secs)], s) }
	}
	without := func(secs []snapshot.Section) (out []snapshot.Section) {
		for _, s := range secs {
			if s.ID() != "device/uart0" {
				out = append(out, s)
			}
		}
		return out
	}
	newer := func(secs []snapshot.Section) (out []snapshot.Section) {
		out = append(out, secs...)
		for i := range out {
			if out[i].ID() == "device/uart0" {
				out[i].Version = 2
			}
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		config []snapshot.Section // before the first page
		stop   func([]snapshot.Section) []snapshot.Section
		code   migrate.Code
		err    string
	}{
		{name: "as it is"},
		{name: "optional", config: []snapshot.Section{{Name: "weather", Version: 7, Data: []byte("fine")}}},
		{
			name: "required", config: []snapshot.Section{{Name: "flux", Instance: "0", Version: 3, Required: true, Data: []byte("x")}},
			code: migrate.Refused, err: `section flux/0`,
		},
		{
			name: "state", stop: extra(snapshot.Section{Name: "device", Instance: "flux0", Version: 1, Required: true, State: true, Data: []byte{0xa0}}),
			code: migrate.Failed, err: "section device/flux0 is required and unknown to this build of godwit",
		},
		{name: "missing", stop: without, code: migrate.Failed, err: "section device/uart0 is missing"},
		{name: "newer", stop: newer, code: migrate.Failed, err: "section device/uart0 has version 2, this build reads 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newTiny(t, 16, "hog 1 0 rand", 3_000_000)
			j := newJourney(t, m, migrate.Options{Mode: migrate.ModeStop, Observe: -1})
			j.dep.Extra = func() ([]snapshot.Section, error) { return tt.config, nil }
			if tt.stop != nil {
				j.guest = &other{j.dep, tt.stop}
			}
			sent, got, err := j.travel()
			if tt.err == "" {
				require.NoError(t, err)
				require.Equal(t, sent.Root, got.Root)
				j.same(sent)
				return
			}
			require.ErrorContains(t, err, tt.err)
			require.Equal(t, tt.code, migrate.CodeOf(err), "%v", err)
			if tt.stop == nil {
				require.Zero(t, sent.Kinds.Total().Pages, "no page has been sent")
			}
			end := j.from.runOn(t, 0, 20_000_000)
			twin := newTiny(t, 16, "hog 1 0 rand", 3_000_000)
			twin.Run(end)
			require.Equal(t, hash(t, twin), j.from.hash(t), "as if nothing had been")
			j.from.stop()
			require.NoError(t, m.Close())
			require.NoError(t, twin.Close())
		})
	}
}

// TestOtherSectionsInFiles is the same of saved machines.
func TestOtherSectionsInFiles(t *testing.T) {
	m := newTiny(t, 16, "hog 1 0 rand", 3_000_000)
	defer m.Close()
	secs, err := m.Sections()
	require.NoError(t, err)
	for _, lazily := range []bool{false, true} {
		for _, s := range []snapshot.Section{
			{Name: "weather", Version: 7, Data: []byte("fine")},
			{Name: "flux", Version: 3, Required: true, Data: []byte("x")},
			{Name: "device", Instance: "flux0", Version: 1, Required: true, State: true, Data: []byte{0xa0}},
		} {
			path := filepath.Join(t.TempDir(), "m")
			_, err := snapshot.Write(context.Background(), snapshot.Disk{}, path, snapshot.Meta{Count: m.Count()}, append(secs[:len(secs):len(secs)], s), m.Pages(), snapshot.Options{})
			require.NoError(t, err)
			f, err := snapshot.Open(snapshot.Disk{}, path)
			require.NoError(t, err)
			defer f.Close()
			var n *machine.Machine
			if lazily {
				n, _, err = machine.LoadLazily(f, newVM(), nil)
			} else {
				n, err = machine.Load(context.Background(), f, newVM())
			}
			if !s.Required {
				require.NoError(t, err)
				require.NoError(t, n.Close())
				continue
			}
			var unknown *snapshot.UnknownSection
			require.ErrorAs(t, err, &unknown)
			require.Equal(t, s.ID(), unknown.ID)
		}
	}
}
