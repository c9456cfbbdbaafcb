package migrate

import (
	"time"

	"godwit/snapshot"
)

// stop stops the guest and begins to send what is left.
func (s *Source) stop() error {
	f := &s.fin
	*f = finale{stop: s.host.Now(), late: f.late, deadline: -1}
	s.enter(StageStop)
	final, err := s.g.Stop()
	if err != nil {
		return &Error{Code: Failed, Text: "stop the guest", Err: err}
	}
	info := final.Info()
	s.endInterval(info)
	s.disks.harvest(s.host.Now())
	f.final, f.stopped = final, s.host.Now()
	if info.StateBytes > 0 {
		s.cost.state = info.StateBytes
	}
	if s.report.Present == 0 {
		s.report.Present = info.Dirty
	}
	s.report.Count = info.Count
	s.ph = phFinal
	s.number++
	if s.out.on {
		s.promiseRest()
		s.report.Predicted = s.floor()
	} else {
		s.in = interval{began: f.stop, info: info, harvest: f.stopped - f.stop, budget: -1}
		s.pager.begin(final, s.number, s.have)
		s.images.begin(info.Number <= 1) // else there are few, and whoever waits for a disk then has the guest wait
		s.ctl.say(frPassBegin, &passMark{Pass: s.number, Final: true})
		s.report.Predicted = s.downtime(info.Ran, float64(info.Dirty))
		if s.cost.first == 0 && s.mode == ModeStop {
			s.report.Predicted = s.floor() + seconds(float64(info.Dirty)*guessPage/s.link.carries())
		}
	}
	s.have = nil
	s.report.Predicted += s.diskTime(s.disks.pending())
	f.deadline = f.stop + s.patience()
	return nil
}

// patience is how long a stop may take before the guest is let go again.
func (s *Source) patience() time.Duration {
	return max(4*s.report.Predicted, 10*s.o.MaxDowntime, 2*time.Second) << min(s.fin.late, 10)
}

// lastPage goes on with the state once the last page is on its way.
func (s *Source) lastPage(c *Conn) {
	f := &s.fin
	f.sent = s.host.Now()
	if !s.out.on {
		s.count(&s.pager, &KindTable{})
	}
	var state []snapshot.Section
	for _, sec := range f.final.Sections() {
		if sec.State {
			state = append(state, sec)
		}
	}
	n, err := c.saySections(frDevState, state)
	if err != nil {
		s.fail(&Error{Code: Failed, Text: "the guest's state", Err: err})
		return
	}
	s.report.Sections = n
	c.say(frRoot, &root{f.final.Root(), s.report.Count, s.disks.root()})
	f.said = s.host.Now()
	s.ph = phReady
}

// isReady compares what both sides hold, and gives the guest away if it is equal.
func (s *Source) isReady(r *ready) error {
	f := &s.fin
	f.ready = s.host.Now()
	d := &s.report.Downtime
	d.Stop, d.Pages, d.Load = f.stopped-f.stop, f.sent-f.stopped, time.Duration(min(r.LoadNS, uint64(f.ready-f.said)))
	d.Devices = f.ready - f.sent - d.Load
	have := f.final.Root()
	if r.Root != have {
		f.dest = r.Root
		if s.images.bad > 0 {
			s.sendRefused()
			return nil
		}
		return s.differs(r.Groups)
	}
	if err := s.sameDisks(r.Disks); err != nil {
		return err
	}
	s.report.Root = hexRoot(have)
	s.enter(StageCommit)
	if s.o.Fence != nil {
		before := s.host.Now()
		if err := s.o.Fence(s.o.Epoch+1, true); err != nil {
			return &Error{Code: Failed, Text: "record the new owner", Err: err}
		}
		d.Fence = s.host.Now() - before
	}
	s.report.Epoch = s.o.Epoch + 1
	f.committed = s.host.Now()
	s.ctl.say(frCommit, &commit{Epoch: s.o.Epoch + 1, Root: have})
	s.ph = phCommit
	return nil
}

// maxRepairs bounds how often what differs is sent again.
const maxRepairs = 3

// differs asks which pages of the differing groups differ.
func (s *Source) differs(groups []byte) error {
	f := &s.fin
	n := snapshot.Groups(s.pages)
	if f.repairs++; f.repairs > maxRepairs || len(groups) != int(n)*DigestSize {
		return &Error{Code: RootsDiffer, Err: &RootMismatch{Source: f.final.Root(), Dest: f.dest, Pages: f.differ}}
	}
	var ask wantLeaves
	f.groups, f.again, f.differ = map[uint32]bool{}, newBitmap(s.pages), nil
	for g := uint32(0); g < n && len(ask.Groups) < maxGroups; g++ {
		if have := snapshot.Group(g, s.pages, f.final.Leaf); string(have[:]) != string(groups[g*DigestSize:(g+1)*DigestSize]) {
			ask.Groups = append(ask.Groups, g)
			f.groups[g] = true
		}
	}
	if len(ask.Groups) == 0 {
		s.repair()
		return nil
	}
	s.ctl.say(frWantLeaves, &ask)
	s.ph = phLeaves
	return nil
}

// maxGroups bounds the groups of one WANT_LEAVES.
const maxGroups = 512

// compare finds the pages of a group that differ.
func (s *Source) compare(l *leaves) error {
	f := &s.fin
	first := uint64(l.Group) * snapshot.GroupPages
	if !f.groups[l.Group] || len(l.Leaves) != int(min(snapshot.GroupPages, uint64(s.pages)-first))*LeafSize {
		return errorf(Protocol, "LEAVES of group %d with %d bytes are not due", l.Group, len(l.Leaves))
	}
	delete(f.groups, l.Group)
	for i := 0; i < len(l.Leaves)/LeafSize; i++ {
		p := uint32(first) + uint32(i)
		if f.final.Leaf(p) != [LeafSize]byte(l.Leaves[i*LeafSize:]) {
			f.again.set(p)
			f.differ = append(f.differ, p)
		}
	}
	if len(f.groups) == 0 {
		s.repair()
	}
	return nil
}

// repair sends again what differs, and the state with it.
func (s *Source) repair() {
	f := &s.fin
	s.emit(Event{What: EventRepair, Total: uint64(len(f.differ))})
	s.sendAgain(f.again)
}

// sendRefused sends whole what the destination did not find in images.
func (s *Source) sendRefused() {
	wrong := s.images.wrong
	s.confirmed()
	s.sendAgain(wrong)
}

// sendAgain sends pages whole, and the state with them.
func (s *Source) sendAgain(pages bitmap) {
	s.number++
	s.pager.begin(whole{s.fin.final}, s.number, nil)
	s.pager.dirty, s.pager.plain = pages, true
	s.ctl.say(frPassBegin, &passMark{Pass: s.number, Final: true})
	s.ph = phFinal
	s.fin.deadline = s.host.Now() + s.patience()
}

// whole is memory that is sent without reference to what went before.
type whole struct{ Final }

func (whole) Base(uint32, *[PageSize]byte) bool { return false }
func (whole) Sent(uint32, [LeafSize]byte)       {}

// acked hears that the guest runs at the destination.
func (s *Source) acked(a *commit) error {
	if a.Root != s.fin.final.Root() || a.Epoch != s.o.Epoch+1 {
		return errorf(Protocol, "ACK names machine %x of epoch %d", a.Root, a.Epoch)
	}
	d := &s.report.Downtime
	now := s.host.Now()
	d.Activate = time.Duration(min(a.ActivateNS, uint64(now-s.fin.committed)))
	d.Commit = now - s.fin.committed - d.Activate
	d.Total = max(now-s.fin.stop-d.Fence-s.link.rtt/2, 0)
	s.report.Name = clean(a.Name)
	s.gone(s.ctl)
	return nil
}

// gone goes on once it is known that the guest runs at the destination.
func (s *Source) gone(c *Conn) {
	s.enter(StageActivate)
	if s.out.on && s.out.owed.count() > 0 { // else the destination knows of nothing that is missing
		s.out.running = true
		s.enter(StagePostCopy)
		s.ph = phPost
		return
	}
	c.say(frDone, &empty{})
	s.end(nil)
}

// doubt begins to ask whether the destination runs the guest.
func (s *Source) doubt(err error) {
	s.ph = phDoubt
	s.enter(StageDoubt)
	s.unanswered(err)
}

// unanswered asks again later, or gives up if that was asked for.
func (s *Source) unanswered(err error) {
	switch {
	case s.ph != phDoubt:
	case s.cancelled:
		s.end(&InDoubt{s.sess, s.o.Epoch + 1, err})
	default:
		s.retryAt = s.host.Now() + askEvery
	}
}

// answered hears what became of the session.
func (s *Source) answered(a *welcome) error {
	if s.ph != phDoubt {
		return nil
	}
	q := s.qry
	switch a.Have {
	case haveGuest:
		s.report.Downtime.Total = max(s.host.Now()-s.fin.stop-s.report.Downtime.Fence, 0)
		s.gone(q)
		if s.ph == phPost { // the pages need a new control connection
			s.cutAt, s.retryWait, s.ph = s.host.Now(), 0, phDial
			s.retryAt = s.host.Now()
			s.hangUp(q, nil)
		}
	case haveNever:
		q.say(frDone, &empty{})
		s.takeBack(errorf(Failed, "the destination lost the connection before it took over"))
	default:
		s.hangUp(q, errorf(Failed, "the destination does not know session %s", s.sess))
	}
	return nil
}

// takeBack resumes the guest that the destination vowed never to run.
func (s *Source) takeBack(err error) {
	if s.o.Fence != nil {
		if ferr := s.o.Fence(s.o.Epoch+2, false); ferr != nil {
			s.end(&InDoubt{s.sess, s.o.Epoch + 1, &Error{Code: Failed, Text: "the guest may be taken back, but its owner cannot be recorded", Err: ferr}})
			return
		}
	}
	s.ph = phDial // no longer committed
	s.fail(err)
}
