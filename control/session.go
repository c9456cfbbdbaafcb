package control

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Foreground starts a VM and stays with it until it ends or the user detaches.
func (h Home) Foreground(exe string, s *Spec, t *Terminal, o AttachOptions) (*Client, Left, error) {
	paused := s.Paused
	s.Paused = true // until somebody listens
	if s.Orphan == "" {
		s.Orphan = h.orphan(s, t)
	}
	c, err := h.Launch(exe, s)
	if err != nil {
		return nil, Left{}, err
	}
	o.Owner, o.Replay = true, scrollback
	var cont error
	o.Started = func() {
		if !paused {
			cont = c.Post(context.Background(), "/v1/cont", nil, nil)
		}
	}
	left, err := c.Attach(t, o)
	if cont != nil {
		err = cont
	}
	return c, left, err
}

// orphan is what becomes of a VM whose foreground command dies: at a terminal
// that was closed it lives on; without one nobody would know of it, so it is
// saved, unless it only ran for a result.
func (h Home) orphan(s *Spec, t *Terminal) Orphan {
	switch {
	case s.Ephemeral || s.Until != nil || s.TimeoutNS > 0 || s.Hash || s.Replay != "":
		return OrphanStop
	case t.Interactive():
		return OrphanKeep
	}
	return OrphanSuspend
}

// ToResume fills in where a machine is resumed from: a suspended VM's name, or a
// snapshot file.
func (h Home) ToResume(s *Spec, arg string) error {
	if arg == "" {
		name, err := h.resolveSuspended()
		if err != nil {
			return err
		}
		arg = name
	}
	if CheckName(arg) == nil && h.exists(arg) {
		return h.byName(s, arg)
	}
	if _, err := os.Stat(arg); err != nil {
		return Fail("not-found", fmt.Sprintf("cannot resume %s", arg), "there is no suspended VM of that name, and no such file", "godwit ls -a")
	}
	abs, err := filepath.Abs(arg)
	if err != nil {
		return err
	}
	s.Resume, s.Source = abs, filepath.Base(abs)
	for _, n := range h.Names() { // whose file it is, if anyone's
		if e, err := h.end(n); err == nil && e.State == StateSuspended && e.End.File == abs && s.Name == "" && !h.Alive(n) {
			s.Name, s.Source = n, e.Source
		}
	}
	return nil
}

// resolveSuspended finds the VM that resume without a name means: the last one
// used if it is suspended, else the only one that is.
func (h Home) resolveSuspended() (string, error) {
	var names []string
	for _, n := range h.Names() {
		if e, err := h.end(n); err == nil && e.State == StateSuspended && !h.Alive(n) {
			names = append(names, n)
		}
	}
	if n, err := h.Resolve(""); err == nil && slices.Contains(names, n) {
		return n, nil
	}
	switch len(names) {
	case 1:
		return names[0], nil
	case 0:
		return "", Fail("not-found", "no VM is suspended", "", "godwit ls -a")
	}
	return "", Fail("usage", "several VMs are suspended: "+strings.Join(names, ", "), "say which", "godwit resume "+names[0])
}

func (h Home) byName(s *Spec, name string) error {
	e, err := h.end(name)
	if h.Alive(name) {
		return Fail("state", fmt.Sprintf("%q is running already", name), "", "godwit attach "+name)
	}
	if err != nil || e.State != StateSuspended {
		return Fail("not-found", fmt.Sprintf("%q is %s, not suspended", name, h.Look(name).State), "there is nothing to resume", "godwit ls -a")
	}
	if s.Name == "" {
		s.Name = name
	}
	s.Resume, s.Source = e.End.File, e.Source
	return nil
}
