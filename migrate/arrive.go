package migrate

import (
	"time"

	"godwit/snapshot"
)

func (d *Dest) passBegin(m *passMark) error {
	if m.Pass <= d.pass {
		return errorf(Protocol, "pass %d begins after pass %d", m.Pass, d.pass)
	}
	d.pass, d.count, d.final = m.Pass, 0, m.Final
	if m.Final {
		d.enter(StageStop)
	} else {
		d.enter(StagePreCopy)
	}
	return nil
}

func (d *Dest) passEnd(m *passMark) error {
	if m.Pass != d.pass || m.Pages != d.count {
		return errorf(Protocol, "pass %d of %d pages ends, %d of pass %d came", m.Pass, m.Pages, d.count, d.pass)
	}
	if err := d.disks.flush(); err != nil {
		return err
	}
	d.sayRefused()
	if !d.final { // READY says it for the last
		d.ctl.say(frPassed, &passMark{Pass: m.Pass})
	}
	return nil
}

// take applies a batch of pages.
func (d *Dest) take(f *frame) error {
	if err := d.in.decode(f.payload, d.pages); err != nil {
		return &Error{Code: Protocol, Text: "frame PAGES", Err: err}
	}
	if d.in.pass != d.pass {
		return errorf(Protocol, "frame PAGES is of pass %d, which is not %d", d.in.pass, d.pass)
	}
	d.tally()
	d.advance(d.pass, uint64(d.count), 0)
	return d.in.each(d.apply)
}

// tally counts a batch.
func (d *Dest) tally() {
	d.count += uint32(len(d.in.kinds))
	share := 1.0
	if n := len(d.in.data); n > 0 {
		share = float64(d.in.packed) / float64(n)
	}
	_ = d.in.each(func(_ uint32, k Kind, content []byte) error {
		r := &d.report.Kinds[k]
		r.Pages++
		r.Raw += PageSize
		r.Wire += 1 + uint64(share*float64(len(content)))
		return nil
	})
}

// apply brings one page up to date. A page never goes back to an earlier pass.
func (d *Dest) apply(p uint32, k Kind, content []byte) error {
	if d.gen[p] > d.pass {
		return nil
	}
	switch k {
	case Keep:
		if d.gen[p] == 0 {
			return errorf(Protocol, "page %d is to be kept, but never came", p)
		}
		d.gen[p] = d.pass
		return nil
	case Zero:
		if d.gen[p] == 0 && !d.mem.Present(p) {
			d.gen[p] = d.pass
			content = zeroPage[:]
			break
		}
		content = zeroPage[:]
	case Lines:
		if d.gen[p] == 0 {
			return errorf(Protocol, "lines of page %d changed, but it never came", p)
		}
		d.mem.Read(p, &d.page)
		patch(&d.page, content)
		content = d.page[:]
	case DiskRef:
		var err error
		if content, err = d.referred(content); err != nil {
			return err
		}
	case ImageRef:
		if !d.images.piece(content, &d.page) {
			d.images.refused.set(p)
			return nil
		}
		content = d.page[:]
	case Dup:
		q := le.Uint32(content)
		if q >= d.pages || d.gen[q] != d.pass {
			return errorf(Protocol, "page %d is said to equal page %d, which did not come in this pass", p, q)
		}
		d.mem.Read(q, &d.page)
		content = d.page[:]
	}
	d.gen[p] = d.pass
	if err := d.mem.Restore(p, content); err != nil {
		return &Error{Code: Failed, Text: "restore a page", Err: err}
	}
	return nil
}

// promise notes leaves of pages that come later.
func (d *Dest) promise(f *frame) error {
	if d.promised == nil {
		d.promised = make([][LeafSize]byte, d.pages)
	}
	err := eachListed(f.payload, LeafSize, d.pages, func(p uint32, leaf []byte) { d.promised[p] = [LeafSize]byte(leaf) })
	if err != nil {
		return &Error{Code: Protocol, Text: "frame PROMISE", Err: err}
	}
	return nil
}

func (d *Dest) isAbsent(f *frame) error {
	if d.promised == nil {
		return errorf(Protocol, "frame ABSENT came before any leaf was promised")
	}
	if d.absent == nil {
		d.absent = newBitmap(d.pages)
	}
	if err := eachListed(f.payload, 0, d.pages, func(p uint32, _ []byte) { d.absent.set(p) }); err != nil {
		return &Error{Code: Protocol, Text: "frame ABSENT", Err: err}
	}
	return nil
}

// compare restores the state and computes the hash of what is held.
func (d *Dest) compare(m *root) error {
	began := d.host.Now()
	for i := range d.secs.secs {
		if !d.secs.secs[i].State {
			return errorf(Protocol, "section %s is not state", d.secs.secs[i].ID())
		}
	}
	if d.absent != nil || d.hadAbsent {
		if d.hadAbsent = d.absent != nil; !d.hadAbsent {
			d.absent = newBitmap(d.pages)
		}
		d.mem.Absent(d.absent, func(p uint32) [LeafSize]byte { return d.promised[p] })
	}
	disks, err := d.disks.root()
	if err != nil {
		return err
	}
	have, count, err := d.b.Finish(d.secs.secs)
	if err != nil {
		return asError(Failed, "the machine cannot take the state", err)
	}
	if count != m.Count {
		return errorf(Damaged, "the machine has executed %d instructions, at the source it was %d", count, m.Count)
	}
	d.root = have
	r := ready{Root: have, Count: count, LoadNS: uint64(d.host.Now() - began), Disks: disks}
	if n := snapshot.Groups(d.pages); have != m.Root && int(n)*DigestSize < MaxPayload-1024 {
		for g := range n {
			sum := snapshot.Group(g, d.pages, d.leaf)
			r.Groups = append(r.Groups, sum[:]...)
		}
	}
	d.report.Downtime.Load = time.Duration(r.LoadNS)
	d.report.Count = count
	d.ready = true
	d.ctl.say(frReady, &r)
	return nil
}

func (d *Dest) leaf(p uint32) [LeafSize]byte {
	if d.hadAbsent && d.absent.has(p) {
		return d.promised[p]
	}
	return d.mem.Leaf(p)
}

// leaves names the leaves of groups that differ.
func (d *Dest) leaves(w *wantLeaves) error {
	if len(w.Groups) > maxGroups {
		return errorf(Protocol, "WANT_LEAVES names %d groups, at most %d", len(w.Groups), maxGroups)
	}
	for _, g := range w.Groups {
		if g >= snapshot.Groups(d.pages) {
			return errorf(Protocol, "WANT_LEAVES names group %d of %d", g, snapshot.Groups(d.pages))
		}
		l := leaves{Group: g}
		for p := uint64(g) * snapshot.GroupPages; p < min(uint64(g+1)*snapshot.GroupPages, uint64(d.pages)); p++ {
			leaf := d.leaf(uint32(p))
			l.Leaves = append(l.Leaves, leaf[:]...)
		}
		d.ctl.say(frLeaves, &l)
	}
	d.ready = false // ROOT comes again
	d.enter(StageStop)
	return nil
}

// commit takes the guest over and starts it.
func (d *Dest) commit(m *commit) error {
	if m.Root != d.root {
		return errorf(Protocol, "COMMIT names machine %x, here is %x", m.Root, d.root)
	}
	d.enter(StageCommit)
	began := d.host.Now()
	if err := d.b.Journal(m.Epoch, d.sess); err != nil {
		return asError(Failed, "record the ownership", err)
	}
	journalled := d.host.Now()
	d.enter(StageActivate)
	if err := d.b.Activate(); err != nil {
		return asError(Failed, "the machine does not start", err)
	}
	now := d.host.Now()
	d.running, d.epoch = true, m.Epoch
	d.report.Epoch = m.Epoch
	d.report.Root = hexRoot(d.root)
	d.report.Downtime.Commit, d.report.Downtime.Activate = journalled-began, now-journalled
	ack := commit{Epoch: m.Epoch, Root: d.root, JournalNS: uint64(journalled - began), ActivateNS: uint64(now - journalled)}
	if b, ok := d.b.(Named); ok {
		ack.Name = b.Name()
		d.report.Name = ack.Name
	}
	d.ctl.say(frAck, &ack)
	if d.hadAbsent {
		d.missing = d.absent
		d.left = d.missing.count()
		d.total = d.left
		d.enter(StagePostCopy)
	}
	d.complete()
	return nil
}

// complete goes on when no page is missing.
func (d *Dest) complete() {
	if d.left > 0 {
		d.pull()
		return
	}
	if d.hadAbsent && d.ctl != nil {
		d.ctl.say(frEnd, &empty{})
	}
	d.linger()
}

// fill brings missing pages.
func (d *Dest) fill(f *frame) error {
	if err := d.in.decode(f.payload, d.pages); err != nil {
		return &Error{Code: Protocol, Text: "frame PAGES", Err: err}
	}
	d.tally()
	err := d.in.each(func(p uint32, k Kind, content []byte) error {
		if k != Raw && k != Zero {
			return errorf(Protocol, "missing page %d came as %s", p, k)
		}
		if k == Zero {
			content = zeroPage[:]
		}
		return d.arrived(p, content)
	})
	if err != nil {
		return err
	}
	d.advance(0, uint64(d.total-d.left), uint64(d.total))
	if d.left == 0 {
		d.complete()
		return nil
	}
	d.pull()
	return nil
}

// maxBad is how often a page may come with content that was not promised.
const maxBad = 3

func (d *Dest) arrived(p uint32, content []byte) error {
	if d.missing == nil || !d.missing.has(p) {
		return nil
	}
	switch err := d.mem.Fill(p, content); {
	case err == nil:
	case d.bad[p] < maxBad:
		d.bad[p]++
		d.emit(Event{What: EventWarning, Reason: (&Error{Code: Damaged, Text: "a page came wrong and is asked for again", Err: err}).Error(), Total: 1})
		d.ask(p)
		return nil
	default:
		d.finish(d.strand(err))
		return nil
	}
	d.missing.clear(p)
	d.left--
	if d.waiting && p == d.fault {
		d.waiting = false
		took := d.host.Now() - d.faulted
		d.report.FaultWait += took
		d.report.FaultMax = max(d.report.FaultMax, took)
	}
	return nil
}

// pull asks for the page that the guest waits for, once.
func (d *Dest) pull() {
	if !d.running || d.left == 0 {
		return
	}
	p, ok := d.mem.Wanted()
	if !ok || d.waiting && p == d.fault || !d.missing.has(p) {
		return
	}
	d.fault, d.faulted, d.waiting = p, d.host.Now(), true
	d.report.Faults++
	if !d.ask(p) {
		d.waiting = false // when there is a connection again
	}
}

func (d *Dest) ask(p uint32) bool {
	c := d.flt
	if c == nil {
		c = d.ctl
	}
	if c != nil {
		c.say(frReqPage, &reqPage{p})
	}
	return c != nil
}
