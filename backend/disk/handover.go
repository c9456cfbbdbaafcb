package disk

import (
	"context"
	"errors"
	"fmt"
)

// The disks of a machine that moves change hands together. The one side lets go of
// all or of none; the other claims all before its first instruction. In between they
// belong to an heir, by a name that is used once: only that session finds them
// handed over to it. As long as nobody has written since, whoever let go can have
// them back, for the epoch is still the one that it noted.

// HandOverAll hands all drives to an heir, as HandOver does. After an error all are
// here, or could not be taken back, and are as TakeBackAll says.
func HandOverAll(ctx context.Context, drives []*Drive, next string) error {
	for _, d := range drives { // most of what fails does so before anything has changed
		if err := d.Sync(ctx); err != nil {
			return err
		}
	}
	for i, d := range drives {
		if _, err := d.HandOver(ctx, next); err != nil {
			return errors.Join(err, TakeBackAll(drives[:i+1]))
		}
	}
	return nil
}

// TakeBackAll claims all drives again that were handed over. After an error those
// that could be had are here, the others are not; it can be tried again.
func TakeBackAll(drives []*Drive) error {
	var errs []error
	for _, d := range drives {
		errs = append(errs, d.TakeBack())
	}
	return errors.Join(errs...)
}

// OpenAll opens all drives that were made for later. After an error the drives are
// to be closed: nothing was written to any.
func OpenAll(drives []*Drive, heir, name string) error {
	for _, d := range drives {
		if err := d.Open(heir, name); err != nil {
			return err
		}
	}
	return nil
}

// Open opens a drive that was made for later, in the name of its owner. Heir is as
// in Claim.
func (d *Drive) Open(heir, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.later == nil {
		return nil
	}
	o := *d.later
	o.Heir, o.Name = heir, name
	err := d.open(o)
	if err == nil && d.img.Size() != o.Later {
		err = errors.Join(fmt.Errorf("image %s has %d bytes, the machine's has %d", d.path, d.img.Size(), o.Later), d.img.Close())
		d.img, d.size = nil, o.Later
	}
	if err != nil {
		d.release()
		return err
	}
	d.later = nil
	d.change.Broadcast()
	return nil
}

// HandOver notes durably that the image is next's from now on, and lets go of it:
// whoever claims the epoch that is returned, or as this heir, gets it. The name
// should be one that is used once. The image is closed: nothing of the drive can
// write to it any more, unless TakeBack succeeds. Of a disk that is only read nothing
// is to be handed over, and the epoch is the image's.
func (d *Drive) HandOver(ctx context.Context, next string) (epoch uint64, err error) {
	if err := d.Sync(ctx); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.locks) == 0 || d.heir != "" {
		return d.epoch, nil
	}
	l := d.locks[len(d.locks)-1]
	o := l.Owner()
	o.Epoch, o.Name, o.PID = o.Epoch+1, next, 0
	if err := l.Sign(o); err != nil {
		return 0, fmt.Errorf("hand image %s over: %w", d.path, err)
	}
	d.heir, d.epoch = next, o.Epoch
	img := d.img
	d.img = nil
	if err := img.Close(); err != nil { // it may not be what the heir would find
		return 0, fmt.Errorf("hand image %s over: %w", d.path, err)
	}
	l.Release()
	d.locks, d.gone = d.locks[:len(d.locks)-1], true
	return o.Epoch, nil
}

// TakeBack claims an image again that was handed over. An error is an EpochError or
// a LockedError where the other side has taken it.
func (d *Drive) TakeBack() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.heir == "" {
		return nil
	}
	heir := d.heir
	if err := d.regain(); err != nil {
		return err
	}
	img, err := open(d.path, Options{Format: d.format, FS: d.fs, locked: true})
	if err != nil {
		d.heir = heir // to be tried again; the lock stays
		return err
	}
	d.img = img
	d.change.Broadcast()
	return nil
}

// regain locks the image that was handed over. Its owner file names this side again,
// which ends the heir's claim.
func (d *Drive) regain() error {
	if d.gone {
		return d.lock(Claim{Name: d.name, Epoch: d.epoch})
	}
	l := d.locks[len(d.locks)-1] // it was not let go of
	o := l.Owner()
	o.Name = d.name
	if err := l.Sign(o); err != nil {
		return err
	}
	d.wrote, d.heir = false, ""
	return nil
}
