package pvpanic_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/devices"
	"godwit/devices/pvpanic"
)

type host []uint8

func (h *host) Panic(events uint8) { *h = append(*h, events) }

func TestEvents(t *testing.T) {
	for _, tt := range []struct {
		write uint64
		want  host
	}{
		{0, nil}, {1, host{1}}, {2, host{2}}, {0xff, host{3}}, {0xfc, nil},
	} {
		var h host
		d := pvpanic.New(pvpanic.Wiring{ID: "pvpanic0", Host: &h})
		assert.EqualValues(t, 3, d.Read(0, 1))
		d.Write(0, 1, tt.write)
		assert.Equal(t, tt.want, h)
		assert.NoError(t, d.Restored())
		d.Reset(devices.Warm)
		assert.Zero(t, d.Events)
	}
	d := pvpanic.New(pvpanic.Wiring{ID: "pvpanic0"})
	d.Events = 4
	assert.ErrorContains(t, d.Restored(), "restore pvpanic0: events are 0x4")
}
