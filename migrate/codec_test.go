package migrate

import (
	"bytes"
	"math/rand/v2"
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
		"loopback, bulk, slow processor": {speed: 1900e6, price: bytePrice, s2: [2]float64{400e6, .4}, zstd: [2]float64{90e6, .3}, want: snapshot.S2},
		"loopback, bulk, very slow one":  {speed: 1900e6, price: bytePrice, s2: [2]float64{150e6, .4}, zstd: [2]float64{40e6, .3}, want: snapshot.None},
	} {
		c, err := newChooser("", 7, func() time.Duration { return 0 })
		require.NoError(t, err)
		c.speed = k.speed
		c.of[snapshot.S2] = measured{cost: 1 / k.s2[0], ratio: k.s2[1]}
		c.of[snapshot.Zstd] = measured{cost: 1 / k.zstd[0], ratio: k.zstd[1]}
		c.value(k.price)
		require.Equal(t, k.want, c.codec, name)
	}
}

// TestCodecFollowsMemory: what is compressible after a stretch that is not is
// compressed again within a few batches, and the other way round.
func TestCodecFollowsMemory(t *testing.T) {
	now := time.Duration(0)
	c, err := newChooser("", 7, func() time.Duration { now += 50 * time.Microsecond; return now })
	require.NoError(t, err)
	c.speed = 1900e6
	c.value(bytePrice)
	text, noise := bytes.Repeat([]byte("the godwit flies without a stop. "), 4096), make([]byte, 128<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	out := make([]byte, 0, 256<<10)
	for round := range 3 {
		late := 0
		for range 200 {
			if _, k := c.pack(text, out); k == snapshot.None {
				late++
			}
		}
		require.LessOrEqual(t, late, 2*tryLeast, "round %d", round)
		tries, before := 0, now
		for range 200 {
			c.pack(noise, out)
		}
		tries = int((now - before) / (50 * time.Microsecond))
		require.LessOrEqual(t, tries, 2*(2*200/tryLeast+8), "round %d", round)
	}
}
