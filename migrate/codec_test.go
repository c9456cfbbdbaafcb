package migrate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"godwit/snapshot"
)

// TestCodecIsChosen for what measured speeds make of time and bytes.
func TestCodecIsChosen(t *testing.T) {
	for name, k := range map[string]struct {
		speed, price float64
		s2, zstd     [2]float64 // bytes a second, ratio
		want         snapshot.Codec
	}{
		"slow link":                      {speed: 10e6, s2: [2]float64{800e6, .4}, zstd: [2]float64{250e6, .3}, want: snapshot.Zstd},
		"medium link":                    {speed: 300e6, s2: [2]float64{800e6, .4}, zstd: [2]float64{250e6, .3}, want: snapshot.S2},
		"loopback, the guest waits":      {speed: 1900e6, s2: [2]float64{800e6, .4}, zstd: [2]float64{250e6, .3}, want: snapshot.None},
		"loopback, bulk":                 {speed: 1900e6, price: bytePrice, s2: [2]float64{800e6, .4}, zstd: [2]float64{250e6, .3}, want: snapshot.S2},
		"loopback, bulk, random content": {speed: 1900e6, price: bytePrice, s2: [2]float64{1500e6, 1}, zstd: [2]float64{900e6, 1}, want: snapshot.None},
		"loopback, bulk, slow processor": {speed: 1900e6, price: bytePrice, s2: [2]float64{400e6, .4}, zstd: [2]float64{90e6, .3}, want: snapshot.None},
	} {
		c, err := newChooser("", 7, func() time.Duration { return 0 })
		require.NoError(t, err)
		c.speed = k.speed
		c.rate[snapshot.S2], c.ratio[snapshot.S2] = k.s2[0], k.s2[1]
		c.rate[snapshot.Zstd], c.ratio[snapshot.Zstd] = k.zstd[0], k.zstd[1]
		c.value(k.price)
		require.Equal(t, k.want, c.codec, name)
	}
}
