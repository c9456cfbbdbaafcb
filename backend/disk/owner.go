package disk

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"godwit/internal/host"
)

// OwnerSuffix is what the name of an image's owner file ends with.
const OwnerSuffix = ".godwit-owner"

// Owner is what an image's owner file says. A writer holds a lock on the file, by
// which the host refuses a second one.
type Owner struct {
	// ID is the disk's, made up when a machine first had it. It stays with the image
	// as long as the owner file does.
	ID string `json:"id,omitempty"`
	// Epoch rises when a writer writes for the first time: whoever finds the number
	// that it noted still there knows that nobody has written since. Handing the
	// image over counts too. It begins with 1.
	Epoch uint64 `json:"epoch"`
	Name  string `json:"owner,omitempty"` // of the machine, for people
	PID   int    `json:"pid,omitempty"`   // of the process that has it open
}

// Claim is what somebody wants who locks an image.
type Claim struct {
	// Name of the owner. One without a name writes for sure, and leaves no owner file
	// behind unless there was one already.
	Name string
	// Epoch must be the image's so far; 0: whatever it is.
	Epoch uint64
	// Heir is to whom the image must have been handed over, and nobody else since;
	// the epoch does not count then. Empty: it need not have been.
	Heir string
}

// Lock is a writer's hold on an image.
type Lock interface {
	Path() string // of the image, without symbolic links
	Owner() Owner
	// Sign changes what the owner file says, durably. It fails where the file no longer
	// says what this lock left there: somebody has taken the image by force.
	Sign(o Owner) error
	// Release lets others in. The owner file says who was there last.
	Release()
}

// LockedError says who has an image open for writing.
type LockedError struct {
	Path  string
	Owner Owner
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.Owner.PID != 0 {
		who = fmt.Sprintf("process %d", e.Owner.PID)
	}
	if e.Owner.Name != "" {
		who += fmt.Sprintf(" (%s)", e.Owner.Name)
	}
	return fmt.Sprintf("image %s is in use by %s", e.Path, who)
}

// EpochError says that somebody has written an image, or was given it, since its
// state was noted; or that it was not handed over to who claims it.
type EpochError struct {
	Path  string
	Owner Owner
	Want  uint64
	Heir  string // as in Claim
}

func (e *EpochError) Error() string {
	if e.Heir != "" {
		return fmt.Sprintf("image %s was not handed over to %s: it belongs to %q", e.Path, e.Heir, e.Owner.Name)
	}
	by := ""
	if e.Owner.Name != "" {
		by = " by " + e.Owner.Name
	}
	return fmt.Sprintf("image %s was opened for writing%s since: its epoch is %d, not %d", e.Path, by, e.Owner.Epoch, e.Want)
}

// recordSize is how long an owner file is: one sector, so that a write of it is one
// of the device's. The first byte belongs to the lock, because Windows lets nobody
// read what is locked.
const recordSize = SectorSize

func (o Owner) encode() ([]byte, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	if len(b) > recordSize-2 {
		return nil, fmt.Errorf("owner %q is too long a name", o.Name)
	}
	b = append(append([]byte{'\n'}, b...), bytes.Repeat([]byte{' '}, recordSize-2-len(b))...)
	return append(b, '\n'), nil
}

// readOwner reads an owner file; an empty one says nothing.
func readOwner(f *os.File) (Owner, error) {
	b := make([]byte, recordSize)
	n, _ := f.ReadAt(b[1:], 1) // short is no error here
	var o Owner
	if text := bytes.TrimSpace(b[1 : 1+n]); len(text) > 0 {
		if err := json.Unmarshal(text, &o); err != nil {
			return o, fmt.Errorf("owner file %s makes no sense (%w): remove it if no machine has the image", f.Name(), err)
		}
	}
	return o, nil
}

// ReadOwner tells what an image's owner file says; nothing where there is none.
func ReadOwner(path string) (Owner, error) {
	name, err := ownerFile(path)
	if err != nil {
		return Owner{}, err
	}
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return Owner{}, nil
	}
	if err != nil {
		return Owner{}, err
	}
	defer f.Close()
	return readOwner(f)
}

// Locked tells whether somebody has an image open for writing, as far as this host
// can see.
func Locked(path string) (bool, error) {
	name, err := ownerFile(path)
	if err != nil {
		return false, err
	}
	return host.Locked(name)
}

// Unused fails with a LockedError where somebody has an image open for writing, or one
// that it builds on: what is read there meanwhile may never have been on the disk.
func Unused(path string, o Options) error {
	all, err := Chain(path, o)
	if err != nil && len(all) == 0 {
		return err
	}
	return unlocked(all) // whoever opens them tells what else is wrong
}

func unlocked(files []string) error {
	for _, f := range files {
		locked, err := Locked(f)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if locked {
			owner, err := ReadOwner(f)
			return errors.Join(err, &LockedError{Path: f, Owner: owner})
		}
	}
	return nil
}

func ownerFile(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	return real + OwnerSuffix, err
}

// hostLock is a lock on a host's file.
type hostLock struct {
	f     *os.File
	owner Owner
	keep  bool
}

// Lock takes the lock that goes with a writer: on IMAGE.godwit-owner, beside the
// image, because its bytes are the guest's.
func (hostFS) Lock(path string, c Claim) (Lock, error) {
	name, err := ownerFile(path)
	if err != nil {
		return nil, err
	}
	for {
		f, ok, err := host.Lock(name)
		if err != nil {
			return nil, fmt.Errorf("lock image %s: %w", path, err)
		}
		if !ok {
			o, _ := ReadOwner(path) // for the message; the holder may be writing it
			return nil, &LockedError{Path: path, Owner: o}
		}
		if !same(f, name) { // its last holder removed it in between
			f.Close()
			continue
		}
		l := &hostLock{f: f}
		if err := l.enter(path, c); err != nil {
			l.Release()
			return nil, err
		}
		return l, nil
	}
}

// enter makes a claim the owner. What fails leaves the file as it was.
func (l *hostLock) enter(path string, c Claim) error {
	o, err := readOwner(l.f)
	if err != nil {
		l.keep = true
		return err
	}
	l.owner, l.keep = o, o.ID != ""
	if c.Heir != "" && c.Heir != o.Name || c.Heir == "" && c.Epoch != 0 && c.Epoch != o.Epoch {
		return &EpochError{Path: path, Owner: o, Want: c.Epoch, Heir: c.Heir}
	}
	o.PID = os.Getpid()
	if c.Name == "" {
		o.Epoch++
	} else if o.Name = c.Name; o.ID == "" {
		o.ID, o.Epoch = rand.Text(), o.Epoch+1
	}
	if err := l.Sign(o); err != nil {
		return fmt.Errorf("lock image %s: %w", path, err)
	}
	return nil
}

func (l *hostLock) Path() string { return strings.TrimSuffix(l.f.Name(), OwnerSuffix) }
func (l *hostLock) Owner() Owner { return l.owner }

func (l *hostLock) Sign(o Owner) error {
	b, err := o.encode()
	if err != nil {
		return err
	}
	if now, err := readOwner(l.f); err != nil || now != l.owner {
		return errors.Join(err, &EpochError{Path: l.Path(), Owner: now, Want: l.owner.Epoch})
	}
	if _, err := l.f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := l.f.Sync(); err != nil {
		return err
	}
	l.owner, l.keep = o, l.keep || o.ID != ""
	return nil
}

func (l *hostLock) Release() {
	if !l.keep {
		os.Remove(l.f.Name())
	} else if o := l.owner; o.PID != 0 {
		o.PID = 0
		_ = l.Sign(o) // for people: the lock itself goes with the file
	}
	l.f.Close()
}

func same(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(name)
	return err == nil && os.SameFile(a, b)
}
