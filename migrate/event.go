package migrate

import "time"

// Stage names a part of a migration. The names are those of the literature and
// appear in output.
type Stage string

// Stages.
const (
	StageCheck    Stage = "pre-migration"
	StageReserve  Stage = "reservation"
	StagePreCopy  Stage = "pre-copy"
	StageStop     Stage = "stop-and-copy"
	StageCommit   Stage = "commitment"
	StageActivate Stage = "activation"
	StagePostCopy Stage = "post-copy"
	StageRecovery Stage = "recovery"
	StageDoubt    Stage = "in-doubt"
	StageDone     Stage = "done"
)

// What an Event tells.
const (
	EventStage    = "stage"    // Stage has begun
	EventVerdict  = "verdict"  // Verdict
	EventPass     = "pass"     // Pass ended
	EventProgress = "progress" // Done of Total pages; at most ten a second
	EventSwitch   = "switch"   // the strategy is now Mode because of Reason
	EventBudget   = "budget"   // at most Budget pages may be dirtied until the next harvest
	EventCut      = "cut"      // a connection was lost: Reason
	EventResumed  = "resumed"  // connected again
	EventRepair   = "repair"   // the roots differed; Total pages are sent again
	EventWarning  = "warning"  // Reason; nothing else changed
	EventReport   = "report"   // Report: it is over
)

// Event is something that happened in a migration. What says which fields mean
// something; T and Stage always do.
type Event struct {
	T       time.Duration `json:"t_ns"` // since the migration began
	Stage   Stage         `json:"stage"`
	What    string        `json:"what"`
	Mode    Mode          `json:"mode,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Round   uint32        `json:"round,omitempty"` // pass number; 0: before or after the passes
	Done    uint64        `json:"done,omitempty"`  // pages
	Total   uint64        `json:"total,omitempty"` // pages
	Unit    string        `json:"unit,omitempty"`  // of Done, Total and Budget: "blocks" of disks; else pages
	Budget  uint32        `json:"budget,omitempty"`
	Verdict *Verdict      `json:"verdict,omitempty"`
	Pass    *PassStats    `json:"pass,omitempty"`
	Report  *Report       `json:"report,omitempty"`
}

// Answer is what a verdict comes to.
type Answer string

// Answers. Hopeless is said only if not even the most favourable reading of what
// was measured converges.
const (
	Converges Answer = "converges"
	Hopeless  Answer = "hopeless"
	Unsure    Answer = "unsure"
)

// Verdict is a prediction of pre-copy without a budget, as things are now.
type Verdict struct {
	Answer   Answer        `json:"answer"`
	Total    time.Duration `json:"total_ns"`           // predicted from now to the destination's first instruction
	Downtime time.Duration `json:"downtime_ns"`        // predicted; of Hopeless, the least that pre-copy comes down to
	Asked    time.Duration `json:"asked_ns"`           // MaxDowntime
	Floor    time.Duration `json:"floor_ns"`           // of Downtime, what no strategy can avoid: round trips, devices, load
	Passes   int           `json:"passes"`             // predicted number still to come
	Pages    uint32        `json:"pages"`              // left for the stop
	Dirtied  float64       `json:"dirtied_bps"`        // bytes of memory dirtied a second, in the long run
	Wire     float64       `json:"wire_bps"`           // of these, bytes to be sent a second
	Disks    float64       `json:"disk_bps,omitempty"` // of disks that travel, bytes written a second; of the 64 KiB around each write
	Speed    float64       `json:"bps"`                // wire bytes a second the connection carries
	NeedBPS  float64       `json:"need_bps"`           // Hopeless: speed that would do; 0: none would
	NeedRate float64       `json:"need_dirtied"`       // Hopeless: share of its present rate that the writer would have to slow down to
	Writers  []Writer      `json:"writers,omitempty"`
}

// KindStats counts pages of one kind.
type KindStats struct {
	Pages uint64 `json:"pages"`
	Raw   uint64 `json:"raw"`  // bytes of memory they stand for
	Wire  uint64 `json:"wire"` // bytes they took on the connection
}

// KindTable counts pages by Kind.
type KindTable [Kinds]KindStats

// Total adds the kinds up.
func (t *KindTable) Total() (s KindStats) {
	for k := range t {
		s.Pages, s.Raw, s.Wire = s.Pages+t[k].Pages, s.Raw+t[k].Raw, s.Wire+t[k].Wire
	}
	return s
}

// PassStats describes a pass that ended: all its pages have arrived.
type PassStats struct {
	Number   uint32        `json:"number"`
	Dirty    uint32        `json:"dirty"`      // pages it had to send
	New      uint32        `json:"new"`        // of these, never sent before
	Kinds    KindTable     `json:"kinds"`      // by Kind
	Sent     uint64        `json:"sent"`       // bytes on the connection, framing included
	Took     time.Duration `json:"took_ns"`    // harvest to arrival
	Dirtied  uint32        `json:"dirtied"`    // pages the guest dirtied meanwhile
	Rate     float64       `json:"rate_bps"`   // bytes of memory dirtied a second
	Speed    float64       `json:"bps"`        // smoothed wire bytes a second
	Ratio    float64       `json:"ratio"`      // bytes of memory for one on the wire
	Budget   int           `json:"budget"`     // pages that could be dirtied; -1: no bound
	Stalled  time.Duration `json:"stall_ns"`   // time the budget or the pool held the guest up
	Slowdown float64       `json:"slowdown"`   // share of Took
	Codec    string        `json:"codec"`      // used most
	Harvest  time.Duration `json:"harvest_ns"` // time the guest stood for the harvest
	Disks    DiskStats     `json:"disks,omitzero"`
}

// Downtime is where the time went between the guest's last instruction at the
// source and its first at the destination.
type Downtime struct {
	Total    time.Duration `json:"total_ns"` // Fence not included
	Stop     time.Duration `json:"stop_ns"`  // draining, harvest, encoding, state hash
	Pages    time.Duration `json:"pages_ns"` // last pages
	Devices  time.Duration `json:"devices_ns"`
	Load     time.Duration `json:"load_ns"` // at the destination: state restored, state hash
	Commit   time.Duration `json:"commit_ns"`
	Fence    time.Duration `json:"fence_ns"` // durable record of the new owner, counted apart
	Activate time.Duration `json:"activate_ns"`
}

// Report is what a migration came to. Both sides make one; what only the other
// side knows is zero.
type Report struct {
	Session   string        `json:"session"`
	Peer      string        `json:"peer"`           // what the other side calls itself
	Name      string        `json:"name,omitempty"` // of the machine at the destination; empty: it did not say
	Mode      Mode          `json:"mode"`           // asked for
	Chosen    Mode          `json:"chosen"`
	Why       string        `json:"why,omitempty"`
	Root      string        `json:"root,omitempty"` // state hash, hexadecimal
	Count     uint64        `json:"count"`          // instructions executed at the stop
	Pages     uint32        `json:"pages"`          // of memory
	Present   uint32        `json:"present"`        // pages ever written
	Total     time.Duration `json:"total_ns"`
	Downtime  Downtime      `json:"downtime"`
	Predicted time.Duration `json:"predicted_ns"` // downtime as predicted when the guest was stopped
	Kinds     KindTable     `json:"kinds"`
	Disks     DiskStats     `json:"disks,omitzero"` // that travelled
	Sections  uint64        `json:"section_bytes"`
	Sent      uint64        `json:"sent"`     // bytes
	Received  uint64        `json:"received"` // bytes
	Passes    []PassStats   `json:"passes,omitempty"`
	Budget    uint32        `json:"budget,omitempty"`   // the smallest imposed, in pages
	Stalled   time.Duration `json:"stall_ns,omitempty"` // time the guest was held up
	Slowdown  float64       `json:"slowdown,omitempty"` // share of the time under a budget
	Faults    uint64        `json:"faults,omitempty"`   // post-copy: pages asked for
	FaultWait time.Duration `json:"fault_ns,omitempty"` // post-copy: time from request to arrival, together
	FaultMax  time.Duration `json:"fault_max_ns,omitempty"`
	Cuts      int           `json:"cuts,omitempty"`    // connections lost and made again
	Refused   uint64        `json:"refused,omitempty"` // pages that referred to a disk's image and had to be sent after all
	Unfenced  bool          `json:"unfenced"`          // nothing durable records the new owner
	Epoch     uint64        `json:"epoch"`
}
