package migrate

import (
	"time"

	"godwit/snapshot"
)

// Sizes of memory, as snapshot has them.
const (
	PageSize   = snapshot.PageSize
	LeafSize   = snapshot.LeafSize
	DigestSize = snapshot.DigestSize
)

// Guest is the machine at the source. The engine calls it from one goroutine. A
// call takes effect on the machine's goroutine between two instructions, and
// leaves no trace in the guest.
type Guest interface {
	// Pages is the number of pages of memory.
	Pages() uint32
	// Config returns the sections that are not state.
	Config() ([]snapshot.Section, error)
	// Track begins to count dirty pages and writers; nothing is sent yet. Called
	// again it begins anew: the Pass that follows is a first one.
	Track() error
	// Curve is D(t) since the last Pass or Track, up to now.
	Curve() Curve
	// Writers says who dirtied most pages since the last Pass or Track, at most n,
	// the worst first.
	Writers(n int) []Writer
	// Changes looks at some of the pages dirtied since the last Pass, at about n of
	// them, evenly chosen. At none before a Pass.
	Changes(n int) []Change
	// Pass harvests the dirty pages, re-arms and opens an epoch, in one step. The
	// first after Track has every present page dirty. It ends the pass before it.
	Pass() (Pass, error)
	// Budget bounds the pages dirtied between one Pass and the next: the store
	// that would dirty one more waits until the next Pass. It holds for the
	// present interval at once and for later ones. Negative: no bound.
	Budget(pages int)
	// Stop stops the guest, drains its devices, harvests for the last time and
	// encodes its state. Without Track or Pass before, every present page is dirty.
	Stop() (Final, error)
	// Resume ends it all: the guest is still ours and runs on at full speed, with
	// nothing tracked, no budget and no epoch. Idempotent.
	Resume()
}

// Pass is memory at the instant of a harvest, read while the guest runs on. It
// ends with the next Pass, Stop or Resume.
type Pass interface {
	Info() PassInfo
	// Dirty has a bit for each page to be sent.
	Dirty() []uint64
	// Present tells whether the page was ever written. If not it is zero.
	Present(p uint32) bool
	// Read copies the page.
	Read(p uint32, b *[PageSize]byte)
	// Base copies what the page held at the previous Pass, which the destination
	// holds. ok is false if that was not kept.
	Base(p uint32, b *[PageSize]byte) (ok bool)
	// Sent says that the page will not be read again in this pass and what its
	// leaf is, so that memory need not hash it once more. Its content is kept only
	// as Base of the next pass.
	Sent(p uint32, leaf [LeafSize]byte)
}

// PassInfo describes a harvest.
type PassInfo struct {
	Number     uint32        // from 1 after Track
	Count      uint64        // instructions executed so far
	GuestTime  time.Duration // guest clock
	Dirty      uint32        // pages dirty at the harvest
	New        uint32        // of these, pages never sent before
	Since      time.Duration // host time since the previous harvest
	Ran        time.Duration // of Since, time the guest was not held up by budget or pool
	Stalled    time.Duration // of Since, time the guest waited for budget or pool
	StateBytes int           // what the state sections take, about; 0: unknown
}

// Final is the machine at the instant it stopped.
type Final interface {
	Pass
	// Leaf is the leaf of the page.
	Leaf(p uint32) [LeafSize]byte
	// Sections returns all sections, state included.
	Sections() []snapshot.Section
	// Root is the state hash.
	Root() [DigestSize]byte
}

// Curve is D(t): how many pages were first written within t of guest run time
// after re-arming. Points ascend in both coordinates; the last is now.
type Curve []CurvePoint

// CurvePoint is one point of a Curve.
type CurvePoint struct {
	T     time.Duration // run time; the time a budget or the pool held the guest up is not in it
	Pages uint32
}

// end is the last point.
func (c Curve) end() (p CurvePoint) {
	if len(c) > 0 {
		p = c[len(c)-1]
	}
	return p
}

// Change is what became of a page since the last Pass.
type Change struct {
	Lines uint64         // of 64 bytes that differ, bit 0 is the first; all where what the page held was not kept
	Leaf  [LeafSize]byte // of what it holds now
}

// Writer is someone who dirties pages.
type Writer struct {
	RIP    uint64 `json:"rip,omitempty"`
	CPL    uint8  `json:"cpl,omitempty"`
	VCPU   int    `json:"vcpu,omitempty"`
	Device string `json:"device,omitempty"` // a device's DMA; then RIP, CPL and VCPU mean nothing
	Pages  uint64 `json:"pages"`
	Symbol string `json:"symbol,omitempty"`
}

// Builder is the destination's side: it makes a machine of what arrives. The
// engine calls it from one goroutine.
type Builder interface {
	// Check says what keeps this host from being that machine: nothing, if the
	// result is empty. It builds nothing.
	Check(config []snapshot.Section) []Mismatch
	// Held returns data of this sha256 that is at hand here, nil if there is none: it
	// need not travel.
	Held(sum [DigestSize]byte, size uint64) []byte
	// Reserve builds the machine, memory all zero, and holds its name.
	Reserve(config []snapshot.Section) (Memory, error)
	// Finish restores the state and returns the state hash of what is held, taking
	// promised leaves for absent pages, and the instruction count. It is called
	// again if pages or sections had to be sent again.
	Finish(state []snapshot.Section) (root [DigestSize]byte, count uint64, err error)
	// Journal records durably that this host owns the machine from epoch on,
	// before its first instruction.
	Journal(epoch uint64, session snapshot.UUID) error
	// Activate starts the guest; absent pages are pulled. If it fails the guest
	// has not executed an instruction and never will.
	Activate() error
	// Abandon throws the machine away, reserved or not. Idempotent. Not called
	// after Activate succeeded.
	Abandon()
}

// Named is a Builder that gives the machine a name of its own.
type Named interface {
	// Name is what the machine is called here, once it runs.
	Name() string
}

// Memory is the memory of the machine being built. The engine's goroutine calls
// it; after Activate calls are handed to the machine's goroutine.
type Memory interface {
	Pages() uint32
	// Restore writes a page, any number of times, before Activate. It hashes the
	// page at once, so that Finish has little left to do.
	Restore(p uint32, b []byte) error
	// Present tells whether the page was restored; if not it is zero.
	Present(p uint32) bool
	// Read copies what the page holds.
	Read(p uint32, b *[PageSize]byte)
	// Leaf is the leaf of what the page holds.
	Leaf(p uint32) [LeafSize]byte
	// Absent says which pages are not here yet (a bit each) and promises their
	// leaves. Called before Finish, and again with none if the source changed its
	// mind.
	Absent(pages []uint64, leaf func(p uint32) [LeafSize]byte)
	// Fill brings an absent page. It fails with ErrLeaf, and the page stays
	// absent, if the content does not have the promised leaf.
	Fill(p uint32, b []byte) error
	// Wanted is a page that the stalled guest needs now.
	Wanted() (p uint32, ok bool)
	// Wants receives when Wanted may have changed. A receipt can stand for many
	// changes.
	Wants() <-chan struct{}
}
