package det

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"godwit/machine"
	"godwit/snapshot"
)

// Files of earlier builds, of the machine of boot at #200000, are kept. Each loads as
// the machine that was saved, by its hash, and stays that one: without the devices that
// there were not. It goes on to its end.
func TestOldMachines(t *testing.T) {
	for file, lacks := range map[string][]string{
		"before-vmgenid": {"vmgenid0", "vmclock0"},
		"before-vmclock": {"vmclock0"},
	} {
		t.Run(file, func(t *testing.T) {
			f, err := snapshot.Open(snapshot.Disk{}, "testdata/"+file+".godwit")
			require.NoError(t, err)
			defer f.Close()
			var out quiet
			m, err := machine.Load(t.Context(), f, &out)
			require.NoError(t, err)
			defer m.Close()
			require.EqualValues(t, 200_000, m.Count())
			m.Input(machine.InputFork, []byte("entropy"))
			require.Equal(t, machine.Off, m.Run(1<<40))
			assert.Contains(t, out.String(), "check: ok b5ade138aca560e0")
			secs, err := m.Sections()
			require.NoError(t, err)
			for _, id := range []string{"vmgenid0", "vmclock0"} {
				assert.Equal(t, slices.Contains(lacks, id), snapshot.Find(secs, "device", id) == nil, "%s", id)
			}
		})
	}
}
