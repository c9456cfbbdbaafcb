package mem

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Flags tells what must happen before a store to an arena page.
func (m *Memory) Flags(page uint32) uint8 { return m.flags[page] }

// SetFlag sets FlagCode or FlagTable. The engine withdraws its own cached write
// permissions for the page.
func (m *Memory) SetFlag(page uint32, f uint8) { m.flags[page] |= f &^ FlagClean }

// ClearFlag clears FlagCode or FlagTable.
func (m *Memory) ClearFlag(page uint32, f uint8) { m.flags[page] &^= f &^ FlagClean }

// Gen rises when pages became clean again: write permissions that engines cached
// at a lower Gen are void.
func (m *Memory) Gen() uint64 { return m.gen }

// Touch prepares a store to a page: marks it dirty for every consumer, saves its
// content for every open epoch that still needs it, clears FlagClean. False: an
// epoch's pool is full; nothing was done and the writer must stall until
// the epoch's readers get on (Room).
func (m *Memory) Touch(page uint32) bool {
	if m.flags[page]&FlagClean == 0 {
		return true
	}
	if len(m.epochs) != 0 {
		if !m.touchEpochs(page) {
			return false
		}
	} else {
		m.written[page>>6] |= 1 << (page & 63)
	}
	bit := uint64(1) << (page & 63)
	for _, c := range m.consumers {
		c.bits[page>>6] |= bit
	}
	m.hot[page>>6] |= bit
	m.flags[page] &^= FlagClean
	return true
}

// Consumer is somebody who wants to know which pages changed.
type Consumer struct {
	m    *Memory
	name string
	bits []uint64
	base [][16]byte // paranoid mode: leaves at the last harvest
}

// Consumer adds a consumer. Its first harvest has what was written from now on.
func (m *Memory) Consumer(name string) *Consumer {
	c := &Consumer{m: m, name: name, bits: make([]uint64, len(m.hot))}
	m.consumers = append(m.consumers, c)
	m.armAll()
	if m.paranoid {
		c.base = m.hashAll()
	}
	return c
}

// Harvest puts the pages dirtied since the last harvest, or since the consumer
// was made, into dst, a bit for each arena page, and makes them clean again.
// The result is dst, grown if it was too short; what it held is overwritten.
func (c *Consumer) Harvest(dst []uint64) []uint64 {
	m := c.m
	if m.paranoid {
		c.checkHarvest()
	}
	n := len(c.bits)
	dst = slices.Grow(dst[:0], n)[:n]
	src := c.bits
	var armed uint64
	for i, w := range src {
		dst[i] = w
		if w != 0 {
			src[i] = 0
			armed |= m.arm(i, w)
		}
	}
	if armed != 0 {
		m.gen++
	}
	return dst
}

// Count is how many pages the next harvest will have.
func (c *Consumer) Count() int {
	n := 0
	for _, w := range c.bits {
		n += bits.OnesCount64(w)
	}
	return n
}

// Release ends the consumer; it is told nothing any more.
func (c *Consumer) Release() {
	m := c.m
	m.consumers = slices.DeleteFunc(m.consumers, func(o *Consumer) bool { return o == c })
}

// armAll makes all pages clean.
func (m *Memory) armAll() {
	var armed uint64
	for i, w := range m.hot {
		if w != 0 {
			armed |= m.arm(i, w)
		}
	}
	if armed != 0 {
		m.gen++
	}
}

// arm makes the pages of a set of 64 clean, and returns those that were not.
func (m *Memory) arm(word int, set uint64) uint64 {
	set &= m.hot[word]
	m.hot[word] &^= set
	f := m.flags[word*64 : word*64+64]
	if set == ^uint64(0) {
		const all = uint64(FlagClean) * 0x0101010101010101
		for j := 0; j < 64; j += 8 {
			binary.LittleEndian.PutUint64(f[j:], binary.LittleEndian.Uint64(f[j:])|all)
		}
		return set
	}
	for w := set; w != 0; w &= w - 1 {
		f[bits.TrailingZeros64(w)] |= FlagClean
	}
	return set
}
