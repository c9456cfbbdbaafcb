package control

import (
	"fmt"
	"time"
)

const (
	ctrlA = 1
	ctrlC = 3

	// hintCtrlC is the action of someone who wants to get out.
	hintCtrlC = '!'
)

// keys finds our keys among those for the guest: a prefix and a letter.
type keys struct {
	on      bool
	escape  byte
	pending bool // the prefix was typed
	ctrlCs  []time.Time
}

// feed takes what was typed at a moment and gives what is the guest's and what
// is to be done.
func (k *keys) feed(b []byte, now time.Time) (pass, acts []byte) {
	if !k.on {
		return b, nil
	}
	for _, c := range b {
		switch {
		case k.pending && c == k.escape:
			k.pending = false
			pass = append(pass, c)
		case k.pending:
			k.pending = false
			acts = append(acts, c)
		case c == k.escape:
			k.pending = true
		default:
			pass = append(pass, c)
			if c == ctrlC && k.thirdCtrlC(now) {
				acts = append(acts, hintCtrlC)
			}
		}
	}
	return pass, acts
}

// thirdCtrlC tells whether this Ctrl-C is the third in a second.
func (k *keys) thirdCtrlC(now time.Time) bool {
	recent := k.ctrlCs[:0]
	for _, t := range k.ctrlCs {
		if now.Sub(t) < time.Second {
			recent = append(recent, t)
		}
	}
	k.ctrlCs = append(recent, now)
	if len(k.ctrlCs) < 3 {
		return false
	}
	k.ctrlCs = k.ctrlCs[:0]
	return true
}

// keyName is a control character's name.
func keyName(c byte) string {
	if c >= 1 && c <= 26 {
		return fmt.Sprintf("Ctrl-%c", 'a'+c-1)
	}
	return fmt.Sprintf("%q", c)
}

// ParseKey reads a key's name: ctrl-b, ^b, or the letter b.
func ParseKey(s string) (byte, error) {
	if n := len(s); n > 0 {
		c := s[n-1] | 0x20
		switch p := s[:n-1]; {
		case c < 'a' || c > 'z':
		case p == "" || p == "^" || p == "ctrl-" || p == "Ctrl-" || p == "C-":
			return c - 'a' + 1, nil
		}
	}
	return 0, Fail("usage", fmt.Sprintf("escape key %q is not possible", s), "it is Ctrl with a letter", "--escape ctrl-b")
}
