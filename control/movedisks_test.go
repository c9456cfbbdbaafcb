package control

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"godwit/backend/disk"
	"godwit/machine"
)

// TestVetShared: a disk that is not the one that the machine has locked is refused by
// what is wrong with it.
func TestVetShared(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, p := range []string{path, other} {
		require.NoError(t, disk.Create(p, disk.CreateOptions{Format: disk.Qcow2, Size: 1 << 20}))
		d, err := disk.OpenDrive(p, disk.DriveOptions{Claim: disk.Claim{Name: "plover"}})
		require.NoError(t, err)
		defer d.Close()
	}
	o, err := disk.ReadOwner(path)
	require.NoError(t, err)
	c := machine.DiskConfig{ID: "disk0", File: path, Format: disk.Qcow2, Size: 1 << 20, Identity: o.ID}
	require.Nil(t, vetShared(&c))
	bad := func(field string, change func(c *machine.DiskConfig)) {
		t.Helper()
		x := c
		change(&x)
		m := vetShared(&x)
		require.NotNil(t, m)
		require.Equal(t, "disk0."+field, m.Field, "%v", m)
	}
	bad("file", func(c *machine.DiskConfig) { c.File = filepath.Join(dir, "missing") })
	bad("size", func(c *machine.DiskConfig) { c.Size *= 2 })
	bad("identity", func(c *machine.DiskConfig) { c.File = other })
	bad("identity", func(c *machine.DiskConfig) { c.Identity = "" })

	// A copy has the same identity, but nobody writes to it.
	clone := filepath.Join(dir, "c")
	for _, suffix := range []string{"", disk.OwnerSuffix} {
		b, err := os.ReadFile(path + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(clone+suffix, b, 0o600))
	}
	bad("file", func(c *machine.DiskConfig) { c.File = clone })
	c.File, c.ReadOnly = clone, true
	require.Nil(t, vetShared(&c), "which is as good where it is only read")

	// What is below must be there too.
	top := filepath.Join(dir, "top")
	require.NoError(t, disk.Create(top, disk.CreateOptions{Format: disk.Qcow2, Backing: clone, BackingFormat: disk.Qcow2}))
	require.NoError(t, os.Remove(clone))
	bad("file", func(c *machine.DiskConfig) { c.File = top })
}
