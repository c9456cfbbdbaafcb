package migrate

import (
	"time"

	"godwit/snapshot"
)

// Bounds of trying out a codec that is not in use: often enough to notice that
// memory has become compressible, and by far less work than sending is.
const (
	tryLeast = 4  // batches from one try to the next, at least
	tryMost  = 32 // and at most
	tryShare = 20 // times what a try costs is spent on sending before the next one
)

// bytePrice is what a byte on the wire costs while nobody waits for it, in seconds:
// others share the link with a pass behind which the guest runs on, so it is
// compressed as if all it had was 1 Gbit/s.
const bytePrice = 8e-9

// chooser compresses batches with the codec that gets pages across soonest: what
// counts is the slower of compressing and sending. It measures both.
type chooser struct {
	now    func() time.Duration
	worked func(codec string, bytes int) // is told of each try; may be nil
	codec  snapshot.Codec                // chosen
	fixed  bool
	speed  float64 // bytes a second that the connection takes; 0: unknown
	price  float64 // of a byte, in seconds, beside the time that it takes
	of     [3]measured
	packer [3]*snapshot.Packer
	n      int
	used   [3]int // batches
}

// measured is what a codec was seen to do with what memory holds lately.
type measured struct {
	cost  float64 // seconds for a byte; 0: unknown
	ratio float64 // bytes out for one in
	due   int     // batch at which it is tried again
}

func newChooser(name string, peer uint32, now func() time.Duration) (*chooser, error) {
	c := &chooser{now: now, fixed: name != ""}
	if c.fixed {
		var err error
		if c.codec, err = snapshot.ParseCodec(name); err != nil {
			return nil, err
		}
	}
	for k := snapshot.None; k <= snapshot.Zstd; k++ {
		if peer>>k&1 == 0 {
			continue
		}
		p, err := snapshot.NewPacker(k)
		if err != nil {
			return nil, err
		}
		c.packer[k] = p
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
	packed, got := c.packer[k].Try(data)
	if c.worked != nil {
		c.worked(k.String(), len(data))
	}
	c.learn(k, len(data), len(packed), c.now()-start)
	c.used[got]++
	if got == snapshot.None {
		return len(data), got
	}
	return len(append(out, packed...)), got
}

// turn is the codec for the next batch: the chosen one, or one that is due to be
// tried.
func (c *chooser) turn() snapshot.Codec {
	c.n++
	for k := snapshot.S2; k <= snapshot.Zstd; k++ {
		if k != c.codec && c.packer[k] != nil && c.n >= c.of[k].due {
			return k
		}
	}
	return c.codec
}

// learn takes in what a codec made of a batch. What lies side by side in memory is
// alike, so the last one counts for as much as all before. The time may be the
// host's doing.
func (c *chooser) learn(k snapshot.Codec, in, out int, took time.Duration) {
	m := &c.of[k]
	cost, ratio := max(took.Seconds(), 1e-9)/float64(in), float64(out)/float64(in)
	if m.cost == 0 {
		m.cost, m.ratio = cost, ratio
	}
	m.cost = (m.cost + min(cost, 2*m.cost)) / 2
	m.ratio = (m.ratio + ratio) / 2
	m.due = c.n + int(min(max(tryShare*cost/(1/c.speed+c.price), tryLeast), tryMost))
	c.choose()
}

// value gives a byte its price.
func (c *chooser) value(price float64) {
	c.price = price
	c.choose()
}

func (c *chooser) choose() { c.codec = c.best(c.price) }

// shrinks is what the content of a batch is multiplied with by the codec that is
// used while the guest waits.
func (c *chooser) shrinks() float64 {
	if k := c.best(0); k != snapshot.None && c.of[k].cost > 0 {
		return c.of[k].ratio
	}
	return 1
}

// best is the codec to use where a byte has that price.
func (c *chooser) best(price float64) snapshot.Codec {
	if c.fixed || c.speed == 0 {
		return c.codec
	}
	best, at := 1/c.speed+price, snapshot.None
	for k := snapshot.S2; k <= snapshot.Zstd; k++ {
		m := &c.of[k]
		if m.cost == 0 {
			continue
		}
		if t := max(m.cost, m.ratio/c.speed) + m.ratio*price; t < 0.9*best {
			best, at = t, k
		}
	}
	return at
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
