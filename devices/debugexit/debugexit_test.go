package debugexit_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices"
	"godwit/devices/debugexit"
)

type codes []uint32

func (c *codes) Exit(code uint32) { *c = append(*c, code) }

func TestExit(t *testing.T) {
	for _, tt := range []struct {
		off  uint64
		size int
		v    uint64
		want codes
	}{
		{0, 4, 0x12345678, codes{0x12345678}},
		{0, 2, 0x12345678, codes{0x5678}},
		{0, 1, 0x12345678, codes{0x78}},
		{1, 1, 5, nil},
	} {
		var got codes
		d := debugexit.New(debugexit.Wiring{ID: "debugexit", Exit: &got})
		d.Write(tt.off, tt.size, tt.v)
		assert.Equal(t, tt.want, got, "%d bytes at %d", tt.size, tt.off)
		assert.Zero(t, d.Read(0, 4))
		d.Reset(devices.Warm)
		assert.Equal(t, tt.want, got, "reset writes nothing")
	}
}
