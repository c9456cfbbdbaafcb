// Package lab compares strategies: each moves the same guest over the same link,
// by the same code as a real migration, in virtual time.
package lab

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"godwit/migrate"
	"godwit/migrate/sim"
	"godwit/snapshot"
)

// Setup says what is moved, and how.
type Setup struct {
	Memory    uint64  `json:"memory"`  // bytes
	Filled    uint64  `json:"filled"`  // bytes that the guest wrote before; 0: what it writes and a quarter of the rest
	Writer    uint64  `json:"writer"`  // bytes that it writes again and again
	Rate      float64 `json:"rate"`    // bytes stored a second
	Pattern   string  `json:"pattern"` // of sim.Patterns
	Content   string  `json:"content"` // of sim.Contents
	Seed      uint64  `json:"seed"`
	Bandwidth float64 `json:"bandwidth"` // bytes a second, each way
	RTTNS     int64   `json:"rtt_ns"`
	Loss      float64 `json:"loss"` // share of packets, 0 to 1

	MaxDowntimeNS int64    `json:"max_downtime_ns"`
	Modes         []string `json:"modes"`
	Codec         string   `json:"codec,omitempty"` // none, s2, zstd; "": chosen as it pays

	// Bodies makes what is moved, where that is not the writer that is described; VM
	// says what it is, and Count at which count it was copied.
	Bodies func(src, dst sim.Clock) (*sim.Bodies, error) `json:"-"`
	VM     string                                        `json:"vm,omitempty"`
	Count  uint64                                        `json:"count,omitempty"`

	Events func(mode string) error `json:"-"` // is told what comes next; its error ends it; may be nil
}

// Row is what became of one strategy.
type Row struct {
	Mode       migrate.Mode   `json:"mode"`
	Chosen     migrate.Mode   `json:"chosen,omitempty"`
	Verdict    migrate.Answer `json:"verdict,omitempty"` // the first
	Done       bool           `json:"done"`
	Error      string         `json:"error,omitempty"`
	TotalNS    int64          `json:"total_ns"`
	DowntimeNS int64          `json:"downtime_ns"`
	Predicted  int64          `json:"predicted_ns"` // downtime
	WaitedNS   int64          `json:"waited_ns"`    // post-copy: that the guest waited for pages
	Sent       uint64         `json:"sent"`
	Passes     int            `json:"passes"`
	Slowdown   float64        `json:"slowdown"` // by a budget
	Stalled    int64          `json:"stalled_ns"`
	Faults     uint64         `json:"faults"`
	Equal      bool           `json:"equal"` // what runs at the end is what an unmoved guest would be
}

// Table is all of it.
type Table struct {
	Setup Setup `json:"setup"`
	Rows  []Row `json:"rows"`
}

// Costs are what a host's own work takes here: about what it does on a PC.
var Costs = sim.Costs{
	Harvest: 200 * time.Microsecond, Stop: time.Millisecond, Load: 2 * time.Millisecond, Journal: 2 * time.Millisecond,
	Pack: map[string]float64{"s2": 1.25, "zstd": 3.3}, // 800 and 300 MB/s
}

// After is how long the guest runs on once it has moved, before it is compared.
const After = 100 * time.Millisecond

// Check says what cannot be.
func (s *Setup) Check() error {
	pages := s.Memory / migrate.PageSize
	switch {
	case pages < 16 || pages > 1<<20 && s.Bodies == nil:
		return fmt.Errorf("memory of %d bytes is not possible, it must be 64K to 4G", s.Memory)
	case s.Bodies == nil && (s.Writer < migrate.PageSize || s.Writer > s.Memory):
		return fmt.Errorf("writing to %d bytes is not possible with %d bytes of memory", s.Writer, s.Memory)
	case s.Rate < 0 || s.Bandwidth < 1000:
		return fmt.Errorf("rate %.0f must not be negative, bandwidth %.0f must be at least 1000 bytes a second", s.Rate, s.Bandwidth)
	case s.Loss < 0 || s.Loss > 0.5 || s.RTTNS < 0:
		return fmt.Errorf("loss %g must be 0 to 0.5, round trip %v not negative", s.Loss, time.Duration(s.RTTNS))
	}
	if s.Bodies == nil {
		if err := s.known(); err != nil {
			return err
		}
	}
	if s.Codec != "" {
		if _, err := snapshot.ParseCodec(s.Codec); err != nil {
			return err
		}
	}
	for _, m := range s.Modes {
		if _, err := migrate.ParseMode(m); err != nil {
			return err
		}
	}
	return nil
}

// known says which words of the description are none.
func (s *Setup) known() error {
	for _, x := range []struct {
		name, value string
		of          []string
	}{{"pattern", s.Pattern, sim.Patterns}, {"content", s.Content, sim.Contents}} {
		if !slices.Contains(x.of, x.value) {
			return fmt.Errorf("%s %q is unknown, want one of %q", x.name, x.value, x.of)
		}
	}
	return nil
}

// Compare moves the guest by one strategy after the other.
func Compare(s Setup) (*Table, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if s.Filled == 0 && s.Bodies == nil {
		s.Filled = s.Writer + (s.Memory-s.Writer)/4
	}
	t := &Table{Setup: s}
	for _, m := range s.Modes {
		if s.Events != nil {
			if err := s.Events(m); err != nil {
				return nil, err
			}
		}
		r, err := s.run(migrate.Mode(m))
		if err != nil {
			return nil, fmt.Errorf("strategy %s: %w", m, err)
		}
		t.Rows = append(t.Rows, *r)
	}
	return t, nil
}

func (s *Setup) run(m migrate.Mode) (*Row, error) {
	o := migrate.Options{Mode: m, MaxDowntime: time.Duration(s.MaxDowntimeNS), Codec: s.Codec}
	if m == migrate.ModePre {
		o.OnStall = migrate.StallCancel // pre-copy alone
	}
	res, err := sim.Run(sim.Scenario{
		Program: sim.Program{
			Pages: uint32(s.Memory / migrate.PageSize), Filled: uint32(min(s.Filled, s.Memory) / migrate.PageSize), Area: uint32(s.Writer / migrate.PageSize),
			Rate: s.Rate, Pattern: s.Pattern, Content: s.Content, State: 64 << 10, Seed: s.Seed,
		},
		Link:  sim.Link{Bandwidth: s.Bandwidth, RTT: time.Duration(s.RTTNS), Loss: s.Loss},
		Costs: Costs, Options: o, Seed: s.Seed + 1, After: After, Bodies: s.Bodies,
	})
	if err != nil {
		return nil, err
	}
	p := &res.Source
	r := &Row{
		Mode: m, Chosen: p.Chosen, Done: res.RunsAtDest, TotalNS: int64(p.Total), DowntimeNS: int64(res.Downtime), Predicted: int64(p.Predicted),
		WaitedNS: int64(res.Waited), Sent: p.Sent + p.Received, Passes: len(p.Passes), Slowdown: p.Slowdown, Stalled: int64(p.Stalled), Faults: p.Faults,
		Equal: true, // Run compares, and fails
	}
	if len(res.Verdicts) > 0 {
		r.Verdict = res.Verdicts[0].Answer
	}
	var e *migrate.Error
	if errors.As(res.SourceErr, &e) {
		r.Error = e.Code.String()
	} else if res.SourceErr != nil {
		r.Error = res.SourceErr.Error()
	}
	return r, nil
}
