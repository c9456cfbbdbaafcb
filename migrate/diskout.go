package migrate

import (
	"fmt"
	"math/bits"
	"time"
)

// Disks that travel are sent in rounds of their own first, while memory is not
// tracked yet: each sends what was written during the one before, until that is
// little. Then they go along with memory's passes, and the rest at the stop.

// disksOut is the disks at the source.
type disksOut struct {
	all    []*diskOut
	on     bool          // tracked
	bulk   bool          // a round of disks alone is under way
	rounds int           // of these
	left   float64       // bytes that were left after the last
	budget int           // blocks; < 0: no bound
	lowest int           // that it ever was; < 0: there was none
	held   int           // times in a row that it did not become that low
	block  float64       // wire bytes of a block, as the last passes had it; 0: unknown
	rate   float64       // bytes written a second
	since  time.Duration // of the last harvest
	stats  DiskStats     // of this pass
	spare  []byte
	buf    []byte
	look   []byte // one block, for ref
	pieces pieces
}

// diskOut is one of them.
type diskOut struct {
	d      Disk
	n      uint32
	owed   bitmap // to be sent
	flight bitmap // sent, but the destination has not said that it has it
	at     uint32 // the cursor
	table  *blockTable
	curve  Curve // of blocks, as far as the guest may write freely since the last harvest
	free   Curve // the last that was complete
}

// copies tells whether disks travel.
func (o *disksOut) copies() bool { return len(o.all) > 0 }

// prepare learns of the guest's disks.
func (o *disksOut) prepare(g Guest) {
	dg, ok := g.(DiskGuest)
	if !ok || o.all != nil {
		return
	}
	for _, d := range dg.Disks() {
		n := blocksOf(d.Size())
		o.all = append(o.all, &diskOut{d: d, n: n})
	}
	o.unbind()
}

// track begins to note what is written: everything is to be sent.
func (o *disksOut) track(now time.Duration) error {
	if o.on {
		return nil
	}
	o.on, o.since, o.look = true, now, make([]byte, BlockSize)
	o.pieces = pieces{}
	for i, x := range o.all {
		x.table = newBlockTable(x.d.Size())
		owed, err := x.d.Track()
		if err != nil {
			return &Error{Code: Failed, Text: fmt.Sprintf("track what is written to disk %d", i), Err: err}
		}
		x.owed, x.flight, x.at = owed, newBitmap(x.n), 0
	}
	o.pieces.grow(o.pending() * (BlockSize / PageSize))
	return nil
}

// forget ends it: what the destination had is gone, or not wanted.
func (o *disksOut) forget() {
	for _, x := range o.all {
		x.d.Untrack()
	}
	o.on, o.bulk, o.rounds, o.left = false, false, 0, 0
	o.unbind()
}

// cut has what was under way sent again, and the guest write freely meanwhile.
func (o *disksOut) cut() {
	o.bulk, o.rounds, o.left = false, 0, 0
	o.unbind()
	if !o.on {
		return
	}
	for _, x := range o.all {
		for i, w := range x.flight {
			x.owed[i] |= w
		}
		clear(x.flight)
	}
}

// harvest takes what was written since.
func (o *disksOut) harvest(now time.Duration) {
	if !o.on {
		return
	}
	written := 0
	o.sample(now, true)
	for _, x := range o.all {
		for i, w := range x.d.Harvest() {
			written += bits.OnesCount64(w)
			x.owed[i] |= w
		}
		x.at = 0
	}
	if took := now - o.since; took > 0 && o.rounds > 0 {
		o.rate = float64(written) * BlockSize / took.Seconds()
	}
	o.since, o.stats = now, DiskStats{}
}

// arrived hears that the destination has all that was sent, on stable storage.
func (o *disksOut) arrived() {
	for _, x := range o.all {
		clear(x.flight)
		if x.table != nil {
			x.table.refresh()
		}
	}
	if o.stats.Blocks > 0 {
		o.block = float64(o.stats.Wire) / float64(o.stats.Blocks)
	}
}

// pending is how many blocks are to be sent, dirty how many were written since the
// last harvest.
func (o *disksOut) pending() (n int) {
	for _, x := range o.all {
		n += x.owed.count()
	}
	return n
}

func (o *disksOut) dirty() (n int) {
	if !o.on {
		return 0
	}
	for _, x := range o.all {
		n += x.d.Dirty()
	}
	return n
}

// cost is what so many blocks take on the connection, in bytes.
func (o *disksOut) cost(blocks int) float64 {
	if o.block > 0 {
		return float64(blocks) * o.block
	}
	return float64(blocks) * BlockSize
}

// root covers what was sent of all disks.
func (o *disksOut) root() []byte {
	var t []*blockTable
	for _, x := range o.all {
		t = append(t, x.table)
	}
	return disksRoot(t)
}

// pullBlocks returns the next frame with blocks; nil: none is left in this pass.
func (s *Source) pullBlocks(c *Conn) []byte {
	o := &s.disks
	o.sample(s.host.Now(), false)
	for i, x := range o.all {
		first, ok := x.owed.next(x.at)
		if !ok {
			continue
		}
		f := &blocksFrame{disk: uint8(i), first: first}
		if err := s.gather(x, f); err != nil {
			s.fail(&Error{Code: Failed, Text: fmt.Sprintf("read disk %d", i), Err: err})
			return nil
		}
		if o.spare == nil {
			o.spare = make([]byte, 0, maxBatchBytes)
		}
		b := appendFrame(nil, &frame{typ: frBlocks, seq: c.seq, payload: f.payload(s.pager.codec, o.spare)})
		c.seq++
		f.count(&o.stats, x.d.Size(), len(b))
		f.count(&s.report.Disks, x.d.Size(), len(b))
		s.advanceDisks()
		return b
	}
	return nil
}

// gather fills a frame with blocks that follow one another.
func (s *Source) gather(x *diskOut, f *blocksFrame) error {
	o := &s.disks
	limit := max(min(s.link.chunk(), maxBatchBytes), BlockSize)
	if o.buf == nil {
		o.buf = make([]byte, maxBatchBytes)
	}
	n := 0
	for b := f.first; b < x.n && x.owed.has(b) && len(f.kinds) < maxFrameBlocks; b++ {
		size := blockLen(x.d.Size(), b)
		if n+size > limit {
			break
		}
		to := o.buf[n : n+size]
		x.owed.clear(b) // before it is read: what is written from now on counts again
		x.flight.set(b)
		if err := x.d.Read(b, to); err != nil {
			return err
		}
		k, leaf := Zero, zeroLeaf
		if !allZero(to) {
			k, leaf = Raw, leafOfBlock(to)
			o.pieces.add(f.disk, b, to)
			n += size
		}
		f.kinds = append(f.kinds, byte(k))
		x.table.set(b, leaf)
		x.at = b + 1
	}
	f.data = o.buf[:n]
	return nil
}

// advanceDisks tells of blocks moved, not too often.
func (s *Source) advanceDisks() {
	if now := s.now(); now-s.progress >= time.Second/progressHz {
		s.progress = now
		done := s.disks.stats.Blocks
		s.emit(Event{What: EventProgress, Round: s.number, Done: done, Total: done + uint64(s.disks.pending()), Unit: "blocks"})
	}
}

// startBulk begins a round of disks alone.
func (s *Source) startBulk() error {
	o := &s.disks
	o.harvest(s.host.Now())
	o.bulk = true
	price := 0.0
	if o.rounds++; o.rounds == 1 {
		price = bytePrice
	}
	s.pager.codec.value(price)
	s.number++
	s.in = interval{began: s.host.Now(), budget: -1}
	s.ctl.say(frPassBegin, &passMark{Pass: s.number})
	s.ph = phPass
	s.enter(StagePreCopy)
	return nil
}

// Of disks alone, rounds go on until what is left takes this share of the downtime
// asked for, or no longer shrinks.
const (
	diskShare   = 0.25
	diskShrinks = 0.7
	maxRounds   = 60
)

// passedBulk decides what follows a round of disks alone.
func (s *Source) passedBulk(took time.Duration) error {
	o := &s.disks
	s.link.measured(o.stats.Wire, took)
	st := PassStats{Number: s.number, Took: took, Sent: o.stats.Wire, Speed: s.link.carries(), Budget: -1, Codec: s.pager.codec.most(), Disks: o.stats}
	left := o.cost(o.dirty())
	if took > 0 {
		st.Rate = float64(o.dirty()) * BlockSize / took.Seconds()
	}
	s.report.Passes = append(s.report.Passes, st)
	s.emit(Event{What: EventPass, Round: s.number, Pass: &st})
	little := float64(s.o.MaxDowntime.Seconds()) * diskShare * s.link.carries()
	switch {
	case left <= little:
	case o.rounds == 1 || left < diskShrinks*o.left && o.rounds < maxRounds:
		o.left = left
		return s.startBulk()
	case s.o.OnStall == StallCancel:
		return &Error{Code: Stalled, Text: fmt.Sprintf("the guest writes to its disks as fast as they can be sent: %.0f MB are left after %d rounds", left/1e6, o.rounds)}
	case s.o.OnStall == StallStop || o.rounds >= maxRounds:
	default: // nothing of a disk can follow the guest: it is slowed down
		if err := s.holdDisks(s.link.rtt + seconds(left/s.link.carries())); err != nil {
			return err
		}
		o.left = left
		return s.startBulk()
	}
	if o.bulk = false; s.o.MaxSlowdown > 0 {
		o.unbind() // what is little for a short round would hold the guest up for all of a long pass
	}
	return s.startMemory()
}

// startMemory begins with the guest's memory once its disks are nearly there.
func (s *Source) startMemory() error {
	if s.mode == ModeStop {
		return s.stop()
	}
	if err := s.g.Track(); err != nil {
		return &Error{Code: Failed, Text: "track the guest's writes", Err: err}
	}
	s.stall = stallWatch{}
	return s.startPass()
}

// wireRate is how fast what the guest writes to its disks fills the connection, in
// bytes a second.
func (o *disksOut) wireRate() float64 { return o.rate * o.cost(1) / BlockSize }
