package control

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"godwit/backend/disk"
	"godwit/machine"
	"godwit/migrate"
	"godwit/snapshot"
)

// heir is to whom disks belong between the one side and the other: to a session, once.
func heir(session snapshot.UUID) string { return "session " + session.String() }

// handOver lets go of all disks, or of none, for whoever receives the machine.
func (r *Runner) handOver(ctx context.Context, session snapshot.UUID) error {
	return r.onMachine(func() error {
		return disk.HandOverAll(ctx, r.drives, heir(session))
	})
}

// reclaim claims the disks again that were let go of, on the machine goroutine. It
// fails where the other side has them, or has written.
func (r *Runner) reclaim() error { return disk.TakeBackAll(r.drives) }

// regain claims the disks again before the guest goes on. Where somebody else has them
// it must not: it stays paused.
func (r *Runner) regain() error {
	err := r.reclaim()
	if err == nil {
		return nil
	}
	r.paused = true
	why := strings.ReplaceAll(err.Error(), "\n", "; ")
	r.update(func(s *Status) { s.Reason = why + "  godwit cont " + s.Name })
	r.Note("paused: "+why, true)
	return nil
}

// settleDisks brings to stable storage what the guest has written so far, so that
// less is left to do while it stands still. What fails is found again by then.
func (d *departing) settleDisks() {
	if len(d.r.drives) == 0 || !d.settles.CompareAndSwap(false, true) {
		return
	}
	drives := d.r.drives // they do not change in a migration
	d.settling.Go(func() {
		defer d.settles.Store(false)
		for _, x := range drives {
			_ = x.Settle()
		}
	})
}

// claimDisks takes over the disks of the machine that arrived, before its first
// instruction: all or none.
func (in *incoming) claimDisks(m *machine.Machine, session snapshot.UUID) error {
	r := in.p.r
	from := heir(session)
	if len(in.stores) > 0 { // they are this machine's from the start
		from = ""
	}
	if err := in.closeStores(); err != nil {
		return err
	}
	if err := disk.OpenAll(r.drives, from, in.p.finalName(in.what)); err != nil {
		return err
	}
	for i, c := range m.Config().Disks {
		if id, _ := r.drives[i].Identity(); c.Identity != "" && id != c.Identity {
			return fmt.Errorf("disk %s: %s is another disk: %w", c.ID, c.File, machine.ErrDisk)
		}
	}
	m.NoteDisks()
	return nil
}

// vetDisks says what keeps this host from having the disks of a machine.
func (r *Runner) vetDisks(cfg *machine.Config, secs []snapshot.Section) (bad []migrate.Mismatch) {
	if err := r.spec.knowDisks(secs); err != nil {
		e, want := AsError("the disks", err), "none"
		if e.Want != "" {
			want = "one for " + e.Want
		}
		return []migrate.Mismatch{{Field: "receive --disk", Have: "a file for " + e.Have, Want: want}}
	}
	copies, err := copiesOf(secs)
	if err != nil {
		return []migrate.Mismatch{{Field: secCopies, Have: "version 1", Want: err.Error()}}
	}
	if len(copies) > 0 {
		return r.vetCopies(cfg, copies)
	}
	for _, c := range cfg.Disks {
		if err := r.elsewhere(&c); err != nil {
			bad = append(bad, migrate.Mismatch{Field: c.ID + ".file", Have: err.Error(), Want: "the machine's"})
			continue
		}
		if m := vetShared(&c); m != nil {
			bad = append(bad, *m)
		}
	}
	return bad
}

// vetShared says what is wrong with the file of a disk that both sides can reach.
func vetShared(c *machine.DiskConfig) *migrate.Mismatch {
	path := c.File
	if c.Overlay != "" {
		path = c.Overlay
	}
	no := func(field, have, want string) *migrate.Mismatch {
		return &migrate.Mismatch{Field: c.ID + "." + field, Have: have, Want: want}
	}
	format := c.Format
	if c.Overlay != "" {
		format = disk.Qcow2
	}
	if _, err := disk.Chain(path, disk.Options{Format: format}); err != nil {
		return no("file", err.Error(), "the file that the machine has, at the same place")
	}
	i, err := disk.Inspect(path, disk.Options{Format: format})
	if err != nil {
		return no("file", err.Error(), "an image")
	}
	if i.Size != c.Size {
		return no("size", fmt.Sprint(i.Size), fmt.Sprint(c.Size))
	}
	o, err := disk.ReadOwner(path)
	if err != nil {
		return no("file", err.Error(), "its owner file")
	}
	if o.ID != c.Identity {
		return no("identity", path+" as another disk", "the machine's own")
	}
	if c.ReadOnly {
		return nil
	}
	switch locked, err := disk.Locked(path); {
	case err != nil:
		return no("file", err.Error(), "its lock")
	case !locked:
		return no("file", path+" that nobody has locked", "the file that the machine writes to, not a copy")
	}
	return nil
}

// unused says who still uses a disk whose file is in a VM's directory: a machine that
// moved away takes only its disks' locks along.
func (h Home) unused(name string) error {
	files, err := filepath.Glob(h.file(name, "*.qcow2"))
	if err != nil {
		return err
	}
	for _, f := range files {
		locked, err := disk.Locked(f)
		if err != nil {
			return err
		}
		if o, _ := disk.ReadOwner(f); locked && o.PID != os.Getpid() { // this process's hold ends with it
			return Fail("busy", "cannot remove "+h.Dir(name), fmt.Sprintf("%s is a disk of %s, process %d", f, o.Name, o.PID), "godwit stop "+o.Name)
		}
	}
	return nil
}
