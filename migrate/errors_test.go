package migrate

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestFullDiskIsALackOfResources: whatever a full disk kept from being done; what
// was told as something else stays that.
func TestFullDiskIsALackOfResources(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "owner", Err: syscall.ENOSPC}
	for _, c := range []struct {
		err  error
		want Code
	}{
		{full, Resources},
		{errors.Join(errors.New("twice"), full), Resources},
		{errors.New("not allowed"), Failed},
		{&Error{Code: Busy, Err: full}, Busy},
	} {
		err := asError(Failed, "record the ownership", c.err)
		assert.Equal(t, c.want, CodeOf(err), "%v", c.err)
		assert.ErrorIs(t, err, c.err)
	}
}
