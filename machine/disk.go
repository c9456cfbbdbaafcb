package machine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"godwit/devices"
	"godwit/devices/virtio/blk"
)

// MaxDisks is how many disks a machine can have.
const MaxDisks = 16

// DiskConfig is a disk of a machine. What the host finds out when it opens the disk
// is kept too, so that a saved machine gets the same one back.
type DiskConfig struct {
	ID       string `json:"id" cbor:"1,keyasint"`     // its serial number, and its name in --disk ID=FILE
	File     string `json:"file" cbor:"2,keyasint"`   // on the host that had it last
	Format   string `json:"format" cbor:"3,keyasint"` // "raw" or "qcow2"; "": as its first bytes say
	ReadOnly bool   `json:"read_only,omitempty" cbor:"4,keyasint,omitempty"`
	// Private says that File stays as it is; Overlay is the file that takes what is
	// written in its place, once there is one.
	Private bool   `json:"private,omitempty" cbor:"5,keyasint,omitempty"`
	Overlay string `json:"overlay,omitempty" cbor:"6,keyasint,omitempty"`

	Size     int64  `json:"size,omitempty" cbor:"7,keyasint,omitempty"`     // bytes
	Identity string `json:"identity,omitempty" cbor:"8,keyasint,omitempty"` // of the disk, from its owner file
	// Epoch is that of the file that takes what is written, or of one that is only
	// read: another one says that somebody has written to it since. Base is that of
	// File where it is under an overlay.
	Epoch uint64 `json:"epoch,omitempty" cbor:"9,keyasint,omitempty"`
	Base  uint64 `json:"base,omitempty" cbor:"10,keyasint,omitempty"`
}

var diskID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func validateDisks(disks []DiskConfig) []*BadField {
	var errs []*BadField
	bad := func(have, want string) { errs = append(errs, &BadField{"disks", have, want}) }
	if len(disks) > MaxDisks {
		bad(fmt.Sprintf("%d disks", len(disks)), fmt.Sprintf("at most %d", MaxDisks))
	}
	for i, d := range disks {
		switch {
		case len(d.ID) > blk.SerialLen || !diskID.MatchString(d.ID):
			bad(fmt.Sprintf("one with id %q", d.ID), fmt.Sprintf("ids of 1 to %d of a-z, 0-9 and -", blk.SerialLen))
		case slices.ContainsFunc(disks[:i], func(e DiskConfig) bool { return e.ID == d.ID }):
			bad(fmt.Sprintf("two with id %q", d.ID), "ids that differ")
		case d.ReadOnly && d.Private:
			bad(fmt.Sprintf("%s both read only and private", d.ID), "one of them")
		case d.Size < 0:
			bad(fmt.Sprintf("%s of %d bytes", d.ID, d.Size), "a size")
		}
	}
	return errs
}

// Disk is a disk as its host has opened it: requests begin when the device asks, and
// take effect in that order.
type Disk interface {
	blk.Disk
	// Notify names a function to call, on any goroutine, when a request is finished
	// or has failed.
	Notify(f func())
	// Err is why a request has failed; those behind it wait until Retry.
	Err() error
	Retry()
	// Sync waits for all that was begun and for it to be on stable storage.
	Sync(ctx context.Context) error
	// Freeze makes the present content a layer that stays as it is, and path a new
	// file over it that takes what is written from now on.
	Freeze(ctx context.Context, path string) (layer, format string, err error)
	// Identity is what DiskConfig has as Identity and Epoch, as of now.
	Identity() (id string, epoch uint64)
	Close() error
}

// DiskHost is a Host that has disks.
type DiskHost interface {
	// OpenDisk opens a disk and fills in what it finds out about it. What is filled
	// in already must be so.
	OpenDisk(c *DiskConfig) (Disk, error)
}

// LateHost is a Host that has something to do while the guest waits for a disk.
type LateHost interface {
	// Late is called instead of running where a disk is late, or has failed with an
	// error. It returns when the machine should look again.
	Late(err error) (paused bool)
}

// ErrDisk is returned for a disk that cannot be the machine's.
var ErrDisk = errors.New("not the machine's disk")

// openDisks opens what the configuration lists.
func (m *Machine) openDisks() error {
	if len(m.cfg.Disks) == 0 {
		return nil
	}
	h, ok := m.host.(DiskHost)
	if !ok {
		return errors.New("this host has no disks")
	}
	m.cfg.Disks = slices.Clone(m.cfg.Disks) // the caller's stay as they are
	for i := range m.cfg.Disks {
		c := &m.cfg.Disks[i]
		d, err := h.OpenDisk(c)
		if err != nil {
			return fmt.Errorf("disk %s: %w", c.ID, err)
		}
		m.disks = append(m.disks, d)
		if c.Size != 0 && c.Size != d.Size() {
			return fmt.Errorf("disk %s: %s has %d bytes, the machine's has %d: %w", c.ID, c.File, d.Size(), c.Size, ErrDisk)
		}
		c.Size = d.Size()
	}
	m.NoteDisks()
	return nil
}

// newDisk builds the device of a disk.
func (m *Machine) newDisk(i int) devices.Device {
	w := blk.Wiring{
		Disk: m.disks[i], Serial: m.cfg.Disks[i].ID, Queues: m.cfg.CPUs,
		Late: func() { m.dmaStalled, m.diskLate = true, true },
	}
	if m.cfg.Clock == ClockVirtual {
		w.Clock = m.clock()
	}
	d := blk.New(m.virtio(slotDisk+uint8(i)), w)
	m.blks = append(m.blks, d)
	return d
}

// Disks are the machine's, in the order of its configuration. Only the goroutine
// that calls Run may use them.
func (m *Machine) Disks() []Disk { return m.disks }

// await passes the time until a disk that is late has finished something; Stalled
// where it is not a disk that the machine waits for.
func (m *Machine) await() Stop {
	if !m.diskLate {
		return Stalled
	}
	err := m.DiskErr()
	if h, ok := m.host.(LateHost); ok {
		if h.Late(err) {
			return Paused
		}
		return Reached
	}
	if err != nil {
		return Paused
	}
	for _, d := range m.disks {
		if err := d.Drain(context.Background()); err != nil {
			return Paused
		}
	}
	return Reached
}

// DiskErr is why a request of a disk has failed. The guest does not see it, and
// stands still once it would.
func (m *Machine) DiskErr() error {
	var errs []error
	for i, d := range m.disks {
		if err := d.Err(); err != nil {
			errs = append(errs, fmt.Errorf("disk %s: %w", m.cfg.Disks[i].ID, err))
		}
	}
	return errors.Join(errs...)
}

// RetryDisks goes on with requests that have failed.
func (m *Machine) RetryDisks() {
	for _, d := range m.disks {
		if d.Err() != nil {
			d.Retry()
		}
	}
}

// Quiesce waits until the host works on nothing for the machine, whose state then
// has all the results. It leaves no trace: they complete at their instants. What
// has failed stays as it is, and is begun anew by the machine that the state is
// restored to.
func (m *Machine) Quiesce(ctx context.Context) error {
	for _, d := range m.devs {
		if q, ok := d.(devices.Quiescer); ok {
			if err := q.Quiesce(ctx); err != nil {
				return fmt.Errorf("device %s: %w", d.ID(), err)
			}
		}
	}
	return nil
}

// SyncDisks is Quiesce, and flushes the disks with all caches of the host. It fails
// where a request or a flush does.
func (m *Machine) SyncDisks(ctx context.Context) error {
	if err := m.Quiesce(ctx); err != nil {
		return err
	}
	for i, d := range m.disks {
		if err := d.Sync(ctx); err != nil {
			return fmt.Errorf("disk %s: %w", m.cfg.Disks[i].ID, err)
		}
	}
	return nil
}

// FreezeDisk makes the content of disk i a layer that stays as it is, and has the
// machine go on in a new file over it, which its configuration names from then on.
// All that the guest has asked for so far is in the layer. After an error nothing
// has changed. The disk may be one that is only read: it is its own layer.
func (m *Machine) FreezeDisk(ctx context.Context, i int, path string) (layer, format string, err error) {
	if err := m.Quiesce(ctx); err != nil {
		return "", "", err
	}
	c, d := &m.cfg.Disks[i], m.disks[i]
	layer, format, err = d.Freeze(ctx, path)
	if err != nil || d.ReadOnly() {
		return layer, format, err
	}
	if c.Private {
		c.Overlay = path
	} else {
		c.File, c.Format = path, "qcow2"
	}
	m.NoteDisks()
	return layer, format, nil
}

// NoteDisks brings the configuration up to date with what the disks are now. Of one
// that is not open yet, nothing is known.
func (m *Machine) NoteDisks() {
	for i, d := range m.disks {
		if id, epoch := d.Identity(); epoch != 0 {
			m.cfg.Disks[i].Identity, m.cfg.Disks[i].Epoch = id, epoch
		}
	}
}

// RenameDisk says that the file of disk i has another name now.
func (m *Machine) RenameDisk(i int, file string) { m.cfg.Disks[i].File = file }

// CloseDisks gives the disks back to the host, flushed.
func (m *Machine) CloseDisks() error {
	var errs []error
	for i, d := range m.disks {
		if err := d.Close(); err != nil {
			errs = append(errs, fmt.Errorf("disk %s: %w", m.cfg.Disks[i].ID, err))
		}
	}
	m.disks = nil
	return errors.Join(errs...)
}

// Arrived tells whether Arrivals would let in anything.
func (m *Machine) Arrived() bool {
	if m.cfg.Clock == ClockVirtual || m.dmaStalled {
		return false // all is due at a time that is known beforehand; or not now
	}
	for _, d := range m.blks {
		if d.Ready() > 0 {
			return true
		}
	}
	return false
}

// Arrivals lets in what disks have finished since, where guest time follows the
// wall clock. It tells whether there was anything.
func (m *Machine) Arrivals() bool {
	if !m.Arrived() {
		return false
	}
	for i, d := range m.blks {
		if n := d.Ready(); n > 0 {
			data := binary.LittleEndian.AppendUint32([]byte{byte(i)}, n)
			m.admit(Input{Kind: InputDisk, Time: int64(m.Now()), Data: data})
		}
	}
	return true
}

// arrive is an InputDisk: the number of a disk and how many of its requests may
// complete. A log may say anything.
func (m *Machine) arrive(data []byte) {
	if len(data) == 5 && int(data[0]) < len(m.blks) && m.cfg.Clock == ClockWall {
		m.blks[data[0]].Arrive(binary.LittleEndian.Uint32(data[1:]))
	}
}
