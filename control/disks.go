package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"godwit/backend/disk"
	"godwit/machine"
	"godwit/snapshot"
)

// DiskFile names the file of a disk where a machine goes on.
type DiskFile struct {
	ID     string `json:"id"`
	File   string `json:"file"`
	Format string `json:"format,omitempty"`
}

// ParseDisk reads FILE[,ro][,overlay][,format=raw|qcow2][,id=ID]. Without an id, the
// disk is called by its number.
func ParseDisk(text string, number int) (machine.DiskConfig, error) {
	file, options := diskOptions(text, "ro", "overlay", "format=", "id=")
	c := machine.DiskConfig{ID: fmt.Sprint("disk", number)}
	for _, o := range options {
		switch key, value, _ := strings.Cut(o, "="); key {
		case "ro":
			c.ReadOnly = true
		case "overlay":
			c.Private = true
		case "format":
			c.Format = value
		case "id":
			c.ID = value
		}
	}
	var err error
	c.File, err = diskPath(text, file, c.Format)
	return c, err
}

// ParseDiskFile reads ID=FILE[,format=raw|qcow2].
func ParseDiskFile(text string) (DiskFile, error) {
	id, rest, ok := strings.Cut(text, "=")
	if !ok || id == "" {
		return DiskFile{}, Fail("usage", fmt.Sprintf("disk %q makes no sense", text), "here a disk is ID=FILE", "--disk disk0=root.qcow2")
	}
	file, options := diskOptions(rest, "format=")
	f := DiskFile{ID: id}
	for _, o := range options {
		f.Format = strings.TrimPrefix(o, "format=")
	}
	var err error
	f.File, err = diskPath(text, file, f.Format)
	return f, err
}

// diskOptions takes the known options off the end of a text; what is left is a file,
// whose name may have commas.
func diskOptions(text string, known ...string) (file string, options []string) {
	for {
		at := strings.LastIndexByte(text, ',')
		if at < 0 || !slices.ContainsFunc(known, func(k string) bool {
			o := text[at+1:]
			return o == k || strings.HasSuffix(k, "=") && strings.HasPrefix(o, k)
		}) {
			return text, options
		}
		text, options = text[:at], append(options, text[at+1:])
	}
}

func diskPath(text, file, format string) (string, error) {
	what := fmt.Sprintf("disk %q makes no sense", text)
	if format != "" && format != disk.Raw && format != disk.Qcow2 {
		return "", Fail("usage", what, fmt.Sprintf("format is %q", format), "format=raw, or  format=qcow2")
	}
	if file == "" {
		return "", Fail("usage", what, "there is no file", "--disk root.qcow2")
	}
	if _, err := os.Stat(file); err != nil {
		e := AsError("cannot use disk "+file, err)
		e.Hint = "godwit image create " + file + " 10G"
		return "", e
	}
	abs, err := filepath.Abs(file)
	return abs, AsNil(err, what)
}

// frozen tells that the run is recorded or replayed: it must find the disks again as
// they are now.
func (s *Spec) frozen() bool { return s.Record != "" || s.Replay != "" }

// CheckDisks says what is wrong with disks of a run that is recorded or replayed.
func (s *Spec) CheckDisks() error {
	for _, c := range s.Machine.Disks {
		if err := s.checkFrozen(&c); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) checkFrozen(c *machine.DiskConfig) error {
	if !s.frozen() || c.ReadOnly || c.Private {
		return nil
	}
	return Fail("usage", "a run that is recorded or replayed must not change disk "+c.ID,
		"a replay would find other bytes on it; an overlay takes what is written, and goes at the end", "--disk "+c.File+",overlay")
}

// OpenDisk opens a disk of the machine.
func (r *Runner) OpenDisk(c *machine.DiskConfig) (machine.Disk, error) {
	if err := r.spec.checkFrozen(c); err != nil {
		return nil, err
	}
	copies := r.in != nil && len(r.in.stores) > 0
	if copies {
		r.in.arriving(c, len(r.drives))
	} else if err := r.elsewhere(c); err != nil {
		return nil, err
	}
	if c.Private {
		if err := r.placeOverlay(c); err != nil {
			return nil, err
		}
	}
	o := disk.DriveOptions{
		Format: c.Format, ReadOnly: c.ReadOnly, Overlay: c.Overlay, Base: c.Base, FS: diskFS,
		Claim: disk.Claim{Name: r.Status().Name, Epoch: c.Epoch},
	}
	if r.in != nil && (copies || !c.ReadOnly) { // it is still the other side's
		o.Later = c.Size
	}
	if !c.ReadOnly && !c.Private && r.in == nil {
		home := Home(filepath.Dir(filepath.Dir(r.home())))
		if err := home.Resting("cannot write to disk "+c.ID, c.File, filepath.Base(r.home())); err != nil {
			return nil, err
		}
	}
	d, err := disk.OpenDrive(c.File, o)
	if err != nil {
		return nil, err
	}
	d.Notify(r.wake)
	r.drives = append(r.drives, d)
	if o.Later != 0 {
		return d, nil
	}
	if id, _ := d.Identity(); id != "" && c.Identity != "" && id != c.Identity {
		r.drives = r.drives[:len(r.drives)-1]
		return nil, errors.Join(fmt.Errorf("%s is another disk: %w", c.File, machine.ErrDisk), d.Close())
	}
	c.Base = d.Base()
	if !c.Private {
		c.Format = d.Format()
	}
	return d, nil
}

// elsewhere has a disk come from another file, if the user says so.
func (r *Runner) elsewhere(c *machine.DiskConfig) error {
	i := slices.IndexFunc(r.spec.DiskFiles, func(f DiskFile) bool { return f.ID == c.ID })
	if i < 0 {
		return nil
	}
	f := r.spec.DiskFiles[i]
	o, err := disk.ReadOwner(f.File)
	if err != nil {
		return err
	}
	if o.ID != c.Identity { // a copy, of which nothing is known but its size
		if o.ID != "" && c.Identity != "" {
			return fmt.Errorf("%s is another disk: %w", f.File, machine.ErrDisk)
		}
		c.Identity, c.Base = "", 0
		if c.Overlay == "" {
			c.Epoch = 0
		}
	}
	c.File = f.File
	if f.Format != "" {
		c.Format = f.Format
	}
	return nil
}

// knowDisks fails where a file was named for a disk that the machine of these sections
// does not have: it would go on with the one that was not meant.
func (s *Spec) knowDisks(secs []snapshot.Section) error {
	if len(s.DiskFiles) == 0 {
		return nil
	}
	c, err := machine.ConfigIn(secs)
	if err != nil {
		return err
	}
	var ids []string
	for _, d := range c.Disks {
		ids = append(ids, d.ID)
	}
	for _, d := range s.DiskFiles {
		if slices.Contains(ids, d.ID) {
			continue
		}
		e := Fail("usage", fmt.Sprintf("the machine has no disk %q", d.ID), "it has none", "without --disk")
		if len(ids) > 0 {
			e.Why, e.Hint = "its disks are: "+strings.Join(ids, ", "), "--disk "+ids[0]+"="+d.File
		}
		e.Field, e.Have, e.Want = "disk", d.ID, strings.Join(ids, ", ")
		return e
	}
	return nil
}

// placeOverlay says which file takes what is written to a private disk. Where the
// run is to be repeatable, that is never one that others wrote to before.
func (r *Runner) placeOverlay(c *machine.DiskConfig) error {
	if c.Overlay != "" && r.spec.frozen() {
		c.File, c.Format, c.Base = c.Overlay, disk.Qcow2, c.Epoch
		c.Overlay, c.Epoch = "", 0
	}
	for n := 0; c.Overlay == ""; n++ {
		path := r.file(fmt.Sprintf("overlay-%s-%d.qcow2", c.ID, n))
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			c.Overlay, c.Epoch = path, 0
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Late waits for a disk that the guest cannot do without.
func (r *Runner) Late(error) bool {
	r.flush()
	r.serve()
	r.publish()
	if r.troubled() || r.stopped() || r.overtime() {
		return true
	}
	r.pace.stop()
	r.sleep(-1)
	return false
}

// troubled pauses the guest where a disk has failed.
func (r *Runner) troubled() bool {
	err := r.m.DiskErr()
	if err == nil || r.paused {
		return err != nil
	}
	why := strings.ReplaceAll(err.Error(), "\n", "; ")
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		why += "; make room, then"
	} else {
		why += "; once that is mended,"
	}
	r.paused = true
	r.update(func(s *Status) { s.Reason = why + "  godwit cont " + s.Name })
	r.Note("paused: "+why+" godwit cont", true)
	r.con.print([]byte("\r\ngodwit: paused: " + why + "  godwit cont\r\n"))
	return true
}

// untroubled has disks try again what failed.
func (r *Runner) untroubled() {
	r.m.RetryDisks()
	r.update(func(s *Status) { s.Reason = "" })
}

// closeDisks gives the disks back. What a private one has taken goes, unless the
// machine may go on.
func (r *Runner) closeDisks() {
	if err := r.m.CloseDisks(); err != nil {
		r.Note("what the guest wrote last may be lost: "+err.Error(), false)
	}
	if r.end.File != "" || r.end.To != "" && !r.copied || r.end.Exit == ExitBug {
		return
	}
	for _, c := range r.m.Config().Disks {
		if c.Overlay == "" || filepath.Dir(c.Overlay) != r.home() { // somebody else's
			continue
		}
		if err := disk.Remove(c.Overlay); err != nil {
			r.Note(err.Error(), true)
		}
	}
}

func fromDisk(what string, err error) *Error {
	var (
		locked *disk.LockedError
		moved  *disk.EpochError
		ours   *Error // of who opens disks for machines
	)
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &locked):
		return Fail("busy", what, err.Error(), "godwit ls  to see whose it is")
	case errors.As(err, &moved):
		return Fail("incompatible", what, err.Error(), "a copy of the disk from then: --disk ID=FILE")
	case errors.Is(err, machine.ErrDisk):
		return Fail("incompatible", what, err.Error(), "--disk ID=FILE")
	case errors.Is(err, disk.ErrCorrupt), errors.Is(err, disk.ErrUnsupported):
		return Fail("incompatible", what, err.Error(), "godwit image check FILE")
	}
	return nil
}
