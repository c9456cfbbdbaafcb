package stopped

import (
	"time"

	"godwit/snapshot"
)

// KindStats counts pages of one kind.
type KindStats struct {
	Pages uint64 `json:"pages"`
	Raw   uint64 `json:"raw"`  // bytes of memory they stand for
	Wire  uint64 `json:"wire"` // bytes they took on the connection, framing aside
}

// Stats tells what moved. Both sides count alike.
type Stats struct {
	Session  snapshot.UUID             `json:"-"`
	Peer     string                    `json:"peer"` // what the other side calls itself
	Root     [snapshot.DigestSize]byte `json:"-"`
	Pages    uint32                    `json:"pages"`   // of memory
	Present  uint32                    `json:"present"` // that were to travel
	Kinds    [Kinds]KindStats          `json:"kinds"`   // by Kind
	Sections int                       `json:"sections"`
	Devices  uint64                    `json:"section_bytes"` // bytes of all sections
	Sent     uint64                    `json:"sent"`          // bytes written, everything included
	Received uint64                    `json:"received"`      // bytes read, everything included

	// How long each phase took by Options.Now.
	Connect time.Duration `json:"connect_ns"`  // prefaces
	Prepare time.Duration `json:"prepare_ns"`  // configuration, until START
	Memory  time.Duration `json:"memory_ns"`   // pages
	State   time.Duration `json:"state_ns"`    // sections and the state hash, until READY
	Handed  time.Duration `json:"handover_ns"` // COMMIT until ACK

	// AckLost: this side received the machine and runs it, but could not say so.
	AckLost bool `json:"ack_lost,omitempty"`
}

func (s *Stats) page(k Kind) {
	s.Kinds[k].Pages++
	s.Kinds[k].Raw += snapshot.PageSize
	s.Kinds[k].Wire++ // its kind
}

// Options of both sides. The zero value works.
type Options struct {
	Codec    snapshot.Codec       // Send: how to compress pages; None if the peer cannot read it
	Session  snapshot.UUID        // Send: names the attempt; zero: a random one
	Agent    string               // what this side calls itself, for people
	Now      func() time.Duration // a clock for Stats; nil: the host's
	Progress func(Stats)          // called after each batch; may be nil
}

func (o *Options) fill() {
	if o.Session == (snapshot.UUID{}) {
		o.Session = snapshot.NewUUID()
	}
	if o.Agent == "" {
		o.Agent = "godwit"
	}
	if o.Now == nil {
		start := time.Now()
		o.Now = func() time.Duration { return time.Since(start) }
	}
	if o.Progress == nil {
		o.Progress = func(Stats) {}
	}
}
