package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"godwit/migrate"
)

// Move is a migration: one that goes on, or an entry of the history.
type Move struct {
	VM     string          `json:"vm"`
	At     time.Time       `json:"at"` // it began
	Out    bool            `json:"out"`
	Peer   string          `json:"peer"` // address of the other side
	Op     string          `json:"op,omitempty"`
	State  string          `json:"state"` // as an Op's; in-doubt
	Stage  migrate.Stage   `json:"stage,omitempty"`
	Mode   migrate.Mode    `json:"mode,omitempty"`
	Round  uint32          `json:"round,omitempty"`
	Reason string          `json:"reason,omitempty"` // why a connection was lost that is being made again
	Error  *Error          `json:"error,omitempty"`
	Report *migrate.Report `json:"report,omitempty"`
}

// note takes over what an event tells.
func (m *Move) note(e *migrate.Event) {
	m.Stage, m.Round = e.Stage, e.Round
	switch {
	case e.What == migrate.EventCut:
		m.Reason = e.Reason
	case e.What == migrate.EventStage && e.Stage != migrate.StageRecovery:
		m.Reason = ""
	}
}

// Moves are all that are known.
type Moves struct {
	Running []Move `json:"running"`
	Past    []Move `json:"past"` // oldest first
}

// maxHistory is the size from which on the history is begun anew; the one before
// is kept. In bytes.
const maxHistory = 1 << 20

func (h Home) history() string { return filepath.Join(string(h), fileHistory) }

// remember adds a migration to the history. That it cannot is no reason for
// anything to fail.
func (r *Runner) remember(m *Move) {
	if m.Report != nil { // its passes would fill the history
		short := *m.Report
		short.Passes = nil
		m.Report = &short
	}
	h := Home(filepath.Dir(filepath.Dir(r.home())))
	if err := h.remember(m); err != nil {
		fmt.Fprintln(os.Stderr, "the history of migrations cannot be kept:", err)
	}
}

// remember adds a migration to the history: a line, written at once, so that
// processes do not get in each other's way.
func (h Home) remember(m *Move) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := h.history()
	if fi, err := os.Stat(path); err == nil && fi.Size() > maxHistory {
		if err := os.Rename(path, path+".old"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Moves lists the migrations that go on and those that were.
func (h Home) Moves() Moves {
	out := Moves{Running: []Move{}, Past: []Move{}}
	for _, s := range h.List() {
		if s.Move != nil {
			out.Running = append(out.Running, *s.Move)
		}
	}
	for _, path := range []string{h.history() + ".old", h.history()} {
		b, _ := os.ReadFile(path) // there may be none
		sc := bufio.NewScanner(bytes.NewReader(b))
		sc.Buffer(nil, maxHistory)
		for sc.Scan() {
			var m Move
			if json.Unmarshal(sc.Bytes(), &m) == nil { // a line cut by a crash is no entry
				out.Past = append(out.Past, m)
			}
		}
	}
	return out
}

// Show lists them for people.
func (m *Moves) Show(w io.Writer) {
	if len(m.Running)+len(m.Past) == 0 {
		return
	}
	fmt.Fprintf(w, "%-16s %-19s %-28s %-10s %s\n", "VM", "BEGAN", "WHERE", "STATE", "")
	for _, list := range [][]Move{m.Running, m.Past} {
		for i := range list {
			list[i].show(w)
		}
	}
}

func (m *Move) show(w io.Writer) {
	where := "from " + m.Peer
	if m.Out {
		where = "to " + m.Peer
	}
	what := ""
	switch {
	case m.Error != nil:
		what = oneLine(m.Error.Error())
	case m.Report != nil && !m.Out:
		what = fmt.Sprintf("%s, %s", seconds(m.Report.Total), bytesSent(m.Report.Sent+m.Report.Received))
	case m.Report != nil:
		what = fmt.Sprintf("%s by %s, downtime %s, %s", seconds(m.Report.Total), title(m.Report.Chosen), seconds(m.Report.Downtime.Total), bytesSent(m.Report.Sent+m.Report.Received))
	case m.Round > 0:
		what = fmt.Sprintf("%s, round %d", m.Stage, m.Round)
	default:
		what = string(m.Stage)
	}
	if m.Reason != "" {
		what += ": " + oneLine(m.Reason)
	}
	fmt.Fprintf(w, "%-16s %-19s %-28s %-10s %s\n", m.VM, m.At.Local().Format("2006-01-02 15:04:05"), where, m.State, what)
}
