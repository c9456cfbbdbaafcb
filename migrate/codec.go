package migrate

import (
	"fmt"
	"time"

	"godwit/snapshot"
)

// probeEvery is how often a codec that is not in use is tried: once in so many
// batches.
const probeEvery = 32

// bytePrice is what a byte on the wire costs while nobody waits for it, in seconds: a
// pass that others share the link with is worth compressing at 500 MB/s, even if the
// link is faster than that.
const bytePrice = 2e-9

// chooser compresses batches with the codec that gets pages across soonest: what
// counts is the slower of compressing and sending. It measures both.
type chooser struct {
	now    func() time.Duration
	codec  snapshot.Codec // chosen
	fixed  bool
	speed  float64 // bytes a second that the connection takes; 0: unknown
	price  float64 // of a byte, in seconds, beside the time that it takes
	rate   [3]float64
	ratio  [3]float64 // bytes out for one in
	packer [3]*snapshot.Packer
	n      int
	used   [3]int // batches
}

func newChooser(name string, peer uint32, now func() time.Duration) (*chooser, error) {
	c := &chooser{now: now}
	for k := snapshot.None; k <= snapshot.Zstd; k++ {
		if k.String() == name {
			c.codec, c.fixed = k, true
		}
		if peer>>k&1 == 0 { // as if it never paid
			c.rate[k], c.ratio[k] = 1, 1
			continue
		}
		p, err := snapshot.NewPacker(k)
		if err != nil {
			return nil, err
		}
		c.packer[k] = p
	}
	if name != "" && !c.fixed {
		return nil, fmt.Errorf("codec %q is unknown, want none, s2 or zstd", name)
	}
	if c.packer[c.codec] == nil {
		c.codec = snapshot.None
	}
	return c, nil
}

// pack compresses data into out, which has room, and returns the length; with
// None data itself is the result.
func (c *chooser) pack(data, out []byte) (int, snapshot.Codec) {
	k := c.codec
	if !c.fixed {
		k = c.turn()
	}
	if len(data) == 0 || k == snapshot.None || c.packer[k] == nil {
		c.used[snapshot.None]++
		return len(data), snapshot.None
	}
	start := c.now()
	packed, got := c.packer[k].Pack(data)
	c.learn(k, len(data), len(packed), c.now()-start)
	c.used[got]++
	if got == snapshot.None {
		return len(data), got
	}
	return len(append(out, packed...)), got
}

// turn is the codec for the next batch.
func (c *chooser) turn() snapshot.Codec {
	c.n++
	if c.n <= 2 {
		return snapshot.Codec(c.n)
	}
	if c.n%probeEvery == 0 {
		if k := snapshot.Codec(1 + c.n/probeEvery%2); k != c.codec {
			return k
		}
	}
	return c.codec
}

func (c *chooser) learn(k snapshot.Codec, in, out int, took time.Duration) {
	const weight = 0.3
	rate := float64(in) / max(took.Seconds(), 1e-9)
	ratio := float64(out) / float64(in)
	if c.rate[k] == 0 {
		c.rate[k], c.ratio[k] = rate, ratio
	}
	c.rate[k] += weight * (rate - c.rate[k])
	c.ratio[k] += weight * (ratio - c.ratio[k])
	c.choose()
}

// value gives a byte its price.
func (c *chooser) value(price float64) {
	c.price = price
	c.choose()
}

func (c *chooser) choose() {
	if c.fixed || c.speed == 0 {
		return
	}
	best, at := 1/c.speed+c.price, snapshot.None
	for k := snapshot.S2; k <= snapshot.Zstd; k++ {
		if c.rate[k] == 0 {
			continue
		}
		if t := max(1/c.rate[k], c.ratio[k]/c.speed) + c.ratio[k]*c.price; t < 0.9*best {
			best, at = t, k
		}
	}
	c.codec = at
}

// most is the codec used most, by name.
func (c *chooser) most() string {
	best := snapshot.None
	for k := range c.used {
		if c.used[k] > c.used[best] {
			best = snapshot.Codec(k)
		}
	}
	return best.String()
}
