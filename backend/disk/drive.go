package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// DriveOptions say how a machine has a disk.
type DriveOptions struct {
	Format   string // probed where empty
	ReadOnly bool
	// Overlay is a file that takes what is written, so that the image stays as it
	// is; it is made where there is none. Empty: the image itself takes it.
	Overlay string
	// Claim of the image, or of one that is not written the Epoch that it must have.
	Claim
	FS FS // the host's where nil
}

// Drive is an image as a machine's disk: requests begin when they are asked for and
// take effect in that order, on a goroutine of their own. One that fails, because
// the host's disk is full or broken, holds up those behind it until Retry.
type Drive struct {
	mu     sync.Mutex
	change sync.Cond
	img    Image
	path   string // of the file that takes what is written
	format string
	fs     FS
	ro     bool
	locks  []Lock // of that file, the last, and of layers below that were frozen
	owner  Owner
	handed bool // the last lock was given up

	jobs    []job
	results [][]byte // of finished jobs, not collected yet
	forgot  int      // of jobs, from the first on
	err     error    // why the first of jobs failed
	closed  bool
	notify  func()
	done    chan struct{}
}

// job is a request. It returns what was read.
type job func(img Image) ([]byte, error)

// OpenDrive opens an image for a machine.
func OpenDrive(path string, o DriveOptions) (*Drive, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	d := &Drive{path: abs, ro: o.ReadOnly, fs: Options{FS: o.FS}.fs(), notify: func() {}, done: make(chan struct{})}
	d.change.L = &d.mu
	if err := d.open(o); err != nil {
		for _, l := range d.locks {
			l.Release()
		}
		return nil, err
	}
	go d.work()
	return d, nil
}

func (d *Drive) open(o DriveOptions) (err error) {
	if o.ReadOnly || o.Overlay != "" {
		if d.owner, err = ReadOwner(d.path); err != nil {
			return err
		}
		if o.Epoch != 0 && o.Epoch != d.owner.Epoch {
			return &EpochError{Path: d.path, Owner: d.owner, Want: o.Epoch}
		}
	}
	var img Image
	switch {
	case o.Overlay != "":
		img, err = Freeze(d.path, o.Overlay, Options{Format: o.Format, FS: o.FS})
		d.path, o.Format = o.Overlay, Qcow2
	case o.ReadOnly:
		img, err = Open(d.path, Options{Format: o.Format, ReadOnly: true, FS: o.FS})
	default:
		var l Lock
		if l, err = d.fs.Lock(d.path, o.Claim); err != nil {
			return err
		}
		d.locks, d.owner = append(d.locks, l), l.Owner()
		img, err = Open(d.path, Options{Format: o.Format, FS: o.FS, locked: true})
	}
	if err != nil {
		return err
	}
	var i Info
	img.(image).info(&i)
	d.img, d.format = img, i.Format
	return nil
}

// Path is the file that takes what is written; Format is its format.
func (d *Drive) Path() string { return d.path }

// Format is Raw or Qcow2.
func (d *Drive) Format() string { return d.format }

// Owner is what the image's owner file says; of an overlay, that of the image it is
// over.
func (d *Drive) Owner() Owner { return d.owner }

// Identity is the identity and the epoch of the image, as Owner tells them.
func (d *Drive) Identity() (id string, epoch uint64) { return d.owner.ID, d.owner.Epoch }

// Notify names a function that is called, on another goroutine, whenever a request
// is finished or has failed.
func (d *Drive) Notify(f func()) {
	d.mu.Lock()
	d.notify = f
	d.mu.Unlock()
}

// work does the requests.
func (d *Drive) work() {
	defer close(d.done)
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for !d.closed && (len(d.jobs) == 0 || d.err != nil) {
			d.change.Wait()
		}
		if d.closed {
			return
		}
		j, img := d.jobs[0], d.img
		d.mu.Unlock()
		data, err := j(img)
		d.mu.Lock()
		d.finish(data, err)
		d.change.Broadcast()
		notify := d.notify
		d.mu.Unlock()
		notify()
		d.mu.Lock()
	}
}

func (d *Drive) finish(data []byte, err error) {
	if d.err = err; err != nil {
		return
	}
	d.jobs = slices.Delete(d.jobs, 0, 1)
	if d.forgot > 0 {
		d.forgot--
		return
	}
	d.results = append(d.results, data)
}

func (d *Drive) begin(j job) {
	d.mu.Lock()
	d.jobs = append(d.jobs, j)
	d.mu.Unlock()
	d.change.Broadcast()
}

// Size is the disk's, in bytes.
func (d *Drive) Size() int64 { return d.img.Size() }

// ReadOnly tells whether the machine may only read it.
func (d *Drive) ReadOnly() bool { return d.ro }

// Read begins to read n bytes at off.
func (d *Drive) Read(n, off int64) {
	d.begin(func(img Image) ([]byte, error) {
		p := make([]byte, n)
		return p, img.ReadAt(p, off)
	})
}

// Write begins to write p, which must not change before that is finished. With
// through, that is when it is on stable storage.
func (d *Drive) Write(p []byte, off int64, through bool) {
	d.begin(func(img Image) ([]byte, error) {
		err := img.WriteAt(p, off)
		if err == nil && through {
			err = img.Flush()
		}
		return nil, err
	})
}

// Flush begins to bring what was written before to stable storage.
func (d *Drive) Flush() { d.begin(func(img Image) ([]byte, error) { return nil, img.Flush() }) }

// Discard begins to give a range back, which then reads as zeros.
func (d *Drive) Discard(off, n int64) {
	d.begin(func(img Image) ([]byte, error) { return nil, img.Discard(off, n) })
}

// WriteZeroes begins to zero a range.
func (d *Drive) WriteZeroes(off, n int64, unmap bool) {
	d.begin(func(img Image) ([]byte, error) { return nil, img.WriteZeroes(off, n, unmap) })
}

// Collect tells that one more request is finished, in the order in which they were
// begun, and what it has read.
func (d *Drive) Collect() (data []byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.results) == 0 {
		return nil, false
	}
	data = d.results[0]
	d.results = slices.Delete(d.results, 0, 1)
	return data, true
}

// Forget has Collect leave out what was begun so far. It is done all the same.
func (d *Drive) Forget() {
	d.mu.Lock()
	d.forgot, d.results = len(d.jobs), nil
	d.mu.Unlock()
}

// Err is why the drive does not go on; nil: it does.
func (d *Drive) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Retry goes on with the request that failed.
func (d *Drive) Retry() {
	d.mu.Lock()
	d.err = nil
	d.mu.Unlock()
	d.change.Broadcast()
}

// Drain waits until all that was begun is finished, or cannot be for now: see Err.
func (d *Drive) Drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, d.change.Broadcast)
	defer stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.jobs) > 0 && d.err == nil && !d.closed {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.change.Wait()
	}
	return nil
}

// Sync waits for all that was begun and for it to be on stable storage, the caches
// of images included. A request that fails is its error.
func (d *Drive) Sync(ctx context.Context) error {
	if err := d.Drain(ctx); err != nil {
		return err
	}
	if err := d.Err(); err != nil {
		return fmt.Errorf("image %s: %w", d.path, err)
	}
	if d.ro {
		return nil
	}
	if err := d.img.Flush(); err != nil {
		return fmt.Errorf("flush image %s: %w", d.path, err)
	}
	return nil
}

// Freeze makes the disk's present content a layer that stays as it is, and path a
// new image over it, which takes what is written from now on. The layer, a file of
// a format, can be read by others while this goes on; its lock stays with the drive.
// All that was begun before is in the layer. After an error nothing has changed.
func (d *Drive) Freeze(ctx context.Context, path string) (layer, format string, err error) {
	if d.ro {
		return d.path, d.format, nil // it is frozen as it is
	}
	if err := d.Sync(ctx); err != nil {
		return "", "", err
	}
	o := CreateOptions{Format: Qcow2, Backing: d.path, BackingFormat: d.format, FS: d.fs}
	if err := Create(path, o); err != nil {
		return "", "", err
	}
	if err := d.top(path); err != nil {
		return "", "", errors.Join(err, d.fs.Remove(path))
	}
	layer, format = d.path, d.format
	d.path, d.format = path, Qcow2
	return layer, format, nil
}

// top goes on with a new image over the present one.
func (d *Drive) top(path string) error {
	l, err := d.fs.Lock(path, Claim{Name: d.owner.Name})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	o := l.Owner()
	o.ID = d.owner.ID // it is the same disk
	err = l.Sign(o)
	var img Image
	if err == nil {
		img, err = Open(path, Options{Format: Qcow2, FS: d.fs, locked: true, backing: ReadOnly(d.img)})
	}
	if err != nil {
		l.Release()
		return err
	}
	d.img, d.locks, d.owner = img, append(d.locks, l), o
	return nil
}

// HandOver notes durably that the image is next's from now on, and lets go of it:
// whoever claims the epoch that is returned gets it. The drive is not to be used
// any more, unless TakeBack succeeds. Of a disk that is only read, or over an
// overlay, nothing is to be handed over, and the epoch is the image's.
func (d *Drive) HandOver(ctx context.Context, next string) (epoch uint64, err error) {
	if len(d.locks) == 0 {
		return d.owner.Epoch, d.Sync(ctx)
	}
	if err := d.Sync(ctx); err != nil {
		return 0, err
	}
	l := d.locks[len(d.locks)-1]
	o := d.owner
	o.Epoch, o.Name, o.PID = o.Epoch+1, next, 0
	if err := l.Sign(o); err != nil {
		return 0, fmt.Errorf("hand image %s over: %w", d.path, err)
	}
	l.Release()
	d.locks, d.handed = d.locks[:len(d.locks)-1], true
	return o.Epoch, nil
}

// TakeBack claims an image again that was handed over under an epoch. An error is
// an EpochError or a LockedError where the other side has taken it.
func (d *Drive) TakeBack(epoch uint64) error {
	if !d.handed {
		return nil
	}
	l, err := d.fs.Lock(d.path, Claim{Name: d.owner.Name, Epoch: epoch})
	if err != nil {
		return err
	}
	d.locks, d.owner, d.handed = append(d.locks, l), l.Owner(), false
	return nil
}

// Close finishes what was begun and flushes. A request that has failed is lost, and
// those behind it.
func (d *Drive) Close() error {
	err := d.Drain(context.Background())
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.change.Broadcast()
	<-d.done
	err = errors.Join(err, d.img.Close())
	for _, l := range slices.Backward(d.locks) {
		l.Release()
	}
	d.locks = nil
	return err
}

// RemoveOverlay removes a private overlay file after its drive was closed.
func RemoveOverlay(path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
