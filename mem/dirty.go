package mem

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Flags tells what must happen before a store to an arena page.
func (m *Memory) Flags(page uint32) uint8 { return m.flags[page] ^ FlagClean }

// SetFlag sets FlagCode or FlagTable. The engine withdraws its own cached write
// permissions for the page.
func (m *Memory) SetFlag(page uint32, f uint8) { m.flags[page] |= f & engineFlags }

// ClearFlag clears FlagCode or FlagTable.
func (m *Memory) ClearFlag(page uint32, f uint8) { m.flags[page] &^= f & engineFlags }

const engineFlags = FlagCode | FlagTable

// Gen rises when pages became clean again: write permissions that engines cached
// at a lower Gen are void.
func (m *Memory) Gen() uint64 { return m.gen }

// Refusal says why an access cannot be made now.
type Refusal struct {
	Why      Why
	Page     uint32 // the arena page that was to be accessed
	Interval uint64 // BudgetSpent: how many harvests the consumer had made
}

// Why an access was refused.
type Why uint8

// Reasons. Each ends without the guest's doing; then Room receives.
const (
	PoolFull    Why = iota + 1 // an epoch has no room for another pre-image: its readers must get on
	BudgetSpent                // a consumer's budget allows no further dirty page until its next harvest
	PageAbsent                 // the page's content has not arrived: Fill
)

func (w Why) String() string {
	return [...]string{"not refused", "an epoch's pool is full", "the dirty budget is spent", "the page is absent"}[w]
}

// Refused tells why the last refused access was. Before any it is zero.
func (m *Memory) Refused() Refusal { return m.refused }

func (m *Memory) refuse(why Why, page uint32) bool {
	m.refused = Refusal{Why: why, Page: page}
	return false
}

// Touch prepares a store to a page: marks it dirty for every consumer, saves its
// content for every open epoch that still needs it, clears FlagClean. False:
// nothing was done, and the writer must stall until what Refused names is over.
func (m *Memory) Touch(page uint32) bool {
	f := m.Flags(page)
	if f&FlagClean == 0 {
		return true
	}
	if f&FlagAbsent != 0 {
		return m.refuse(PageAbsent, page)
	}
	word, bit := page>>6, uint64(1)<<(page&63)
	for _, c := range m.consumers {
		if c.count >= c.budget && c.bits[word]&bit == 0 && !m.grace {
			m.refused = Refusal{BudgetSpent, page, c.harvests}
			return false
		}
	}
	if len(m.epochs) != 0 {
		if !m.touchEpochs(page) {
			return m.refuse(PoolFull, page)
		}
	} else {
		m.written[word] |= bit
	}
	for _, c := range m.consumers {
		if c.add(page) && c.writers != nil {
			c.writers.add(m.writer)
		}
	}
	m.hot[word] |= bit
	m.flags[page] |= FlagClean
	return true
}

// SetGrace lets writes pass whatever the budgets say, or not. Why: one operation
// may need more pages than a budget ever allows.
func (m *Memory) SetGrace(on bool) { m.grace = on }

// Consumer is somebody who wants to know which pages changed.
type Consumer struct {
	m    *Memory
	name string
	bits []uint64
	base [][16]byte // paranoid mode: leaves at the last harvest

	count    int // bits set
	budget   int
	harvests uint64
	writers  *writers // nil: not noted
}

// add marks a page, and tells whether it was not marked before.
func (c *Consumer) add(page uint32) bool {
	word, bit := page>>6, uint64(1)<<(page&63)
	if c.bits[word]&bit != 0 {
		return false
	}
	c.bits[word] |= bit
	c.count++
	return true
}

// noBudget allows every page to become dirty.
const noBudget = 1 << 40

// Consumer adds a consumer. Its first harvest has what was written from now on.
func (m *Memory) Consumer(name string) *Consumer {
	c := m.consumer(name)
	m.armAll()
	if m.paranoid {
		c.base = m.hashAll()
	}
	return c
}

// consumer adds one of which pages that are not clean are not to be told.
func (m *Memory) consumer(name string) *Consumer {
	c := &Consumer{m: m, name: name, bits: make([]uint64, len(m.hot)), budget: noBudget}
	m.consumers = append(m.consumers, c)
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
	c.count = 0
	c.harvests++
	if c.writers != nil {
		c.writers.clear()
	}
	m.signalRoom()
	return dst
}

// Count is how many pages the next harvest will have: exactly the pages first
// written since the last one.
func (c *Consumer) Count() int { return c.count }

// Some are about n of these pages, evenly chosen.
func (c *Consumer) Some(n int) (pages []uint32) {
	step, i := max(c.count/max(n, 1), 1), 0
	for w, set := range c.bits {
		for ; set != 0; set &= set - 1 {
			if i%step == 0 {
				pages = append(pages, uint32(w<<6+bits.TrailingZeros64(set)))
			}
			i++
		}
	}
	return pages
}

// SetBudget bounds the pages of the next harvest, and of those after it: the
// write that would make one more dirty is refused. Writes to pages that are dirty
// already are not affected. Below 0: no bound.
func (c *Consumer) SetBudget(pages int) {
	if pages < 0 {
		pages = noBudget
	}
	c.budget = pages
	c.m.signalRoom()
}

// Release ends the consumer; it is told nothing any more.
func (c *Consumer) Release() {
	m := c.m
	m.consumers = slices.DeleteFunc(m.consumers, func(o *Consumer) bool { return o == c })
	m.signalRoom()
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
			binary.LittleEndian.PutUint64(f[j:], binary.LittleEndian.Uint64(f[j:])&^all)
		}
		return set
	}
	for w := set; w != 0; w &= w - 1 {
		f[bits.TrailingZeros64(w)] &^= FlagClean
	}
	return set
}
