package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/control"
	"godwit/control/rehearse"
	"godwit/machine"
	"godwit/migrate/lab"
)

// TestDebianInTheLab copies a Debian that writes to its disk, in virtual and in wall time,
// and moves the copy by every strategy: Compare fails if memory, devices or disks are not
// in the end what they are where nothing was moved. The Debian itself notices nothing.
func TestDebianInTheLab(t *testing.T) {
	for clock, modes := range map[string][]string{machine.ClockVirtual: {"stop", "pre", "post", "hybrid", "auto"}, machine.ClockWall: {"auto"}} {
		w := newWorld(t)
		c := w.debianAt("vm0", clock)
		dir := t.TempDir()
		file := filepath.Join(dir, "machine")
		_, err := c.Begin(context.Background(), "/v1/copy", map[string]string{"file": file}, nil)
		require.NoError(t, err)
		w.owns("vm0")
		f, err := rehearse.Open(file, func(id string) string { return control.CopiedDisk(file, id) })
		require.NoError(t, err)
		copied, err := os.ReadFile(control.CopiedDisk(file, "disk0"))
		require.NoError(t, err)
		table, err := lab.Compare(lab.Setup{
			Memory: f.Memory(), Bodies: f.Bodies, Bandwidth: 50e6, RTTNS: int64(time.Millisecond), MaxDowntimeNS: int64(300 * time.Millisecond),
			Modes: modes, VM: "vm0", Count: f.Count(),
		})
		require.NoError(t, err)
		for _, r := range table.Rows {
			t.Logf("%s: %+v", clock, r)
			require.True(t, r.Done || r.Mode == "pre", "%+v", r)
		}
		require.NoError(t, f.Close())
		now, err := os.ReadFile(control.CopiedDisk(file, "disk0"))
		require.NoError(t, err)
		require.Equal(t, len(copied), len(now))
		require.True(t, string(copied) == string(now), "the copy is not written either")
		files, err := filepath.Glob(filepath.Join(dir, "machine.disk0.qcow2.[0-9]*"))
		require.NoError(t, err)
		require.Empty(t, files, "what the copies wrote is gone")
		chain, err := disk.Chain(w.disks[0], disk.Options{Format: disk.Raw})
		require.NoError(t, err)
		require.Len(t, chain, 1)
		w.rounds(c)
		w.finishes(c)
		w.tool("e2fsck", "-fn", w.disks[0])
	}
}
