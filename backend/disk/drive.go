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
	// Claim of the file that takes what is written, or of an image that is only read
	// the Epoch that it must have. An overlay must be there for its epoch to be so.
	Claim
	Base uint64 // the epoch that an image under an overlay must have, as in Claim
	// Later, if not 0, is the size of a disk that is opened only by Open, as for a
	// machine that is still to arrive: its image belongs to somebody else so far.
	// Requests wait for that.
	Later int64
	FS    FS // the host's where nil
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
	name   string // of the owner
	id     string // of the disk
	epoch  uint64 // of that file
	base   uint64 // of the image under an overlay
	wrote  bool   // the epoch is this drive's
	heir   string // who was given the last lock; "": it is here
	gone   bool   // it was let go of, too
	size   int64  // bytes
	later  *DriveOptions
	next   *layer // made ahead; of who calls Prepare and Freeze
	places places
	fork   *Fork // nil: none is under way

	jobs    []job
	results [][]byte // of finished jobs, not collected yet
	forgot  int      // of jobs, from the first on
	err     error    // why the first of jobs failed
	closed  bool
	waiting int      // for it to be done
	track   *tracker // nil: nothing is noted
	writing span     // under way
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
	if o.Later != 0 {
		d.later, d.size, d.name = &o, o.Later, o.Name
	} else if err := d.open(o); err != nil {
		d.release()
		return nil, err
	}
	go d.work()
	return d, nil
}

func (d *Drive) release() {
	for _, l := range slices.Backward(d.locks) {
		l.Release()
	}
	d.locks = nil
}

func (d *Drive) open(o DriveOptions) (err error) {
	image, format := d.path, o.Format
	if o.ReadOnly || o.Overlay != "" {
		want := o.Base
		if o.ReadOnly {
			want = o.Epoch
		}
		owner, err := ReadOwner(image)
		if err == nil && want != 0 && want != owner.Epoch {
			err = &EpochError{Path: image, Owner: owner, Want: want}
		}
		if err != nil {
			return err
		}
		d.id, d.epoch, d.base = owner.ID, owner.Epoch, owner.Epoch
	}
	if o.Overlay != "" {
		if o.Epoch != 0 {
			if _, err := os.Stat(o.Overlay); err != nil {
				return err
			}
		}
		if d.path, err = filepath.Abs(o.Overlay); err != nil {
			return err
		}
		if err := over(image, d.path, Options{Format: format, FS: o.FS}); err != nil {
			return err
		}
		format = Qcow2
	}
	if !o.ReadOnly {
		if err := d.lock(o.Claim); err != nil {
			return err
		}
	}
	img, err := open(d.path, Options{Format: format, ReadOnly: o.ReadOnly, FS: o.FS, locked: true})
	if err != nil {
		return err
	}
	var i Info
	img.info(&i)
	d.img, d.format, d.name, d.size = img, i.Format, o.Name, img.Size()
	return nil
}

// lock takes the lock of the file that takes what is written.
func (d *Drive) lock(c Claim) error {
	l, err := d.claim(d.path, c)
	if err == nil {
		d.hold(l, c.Name)
	}
	return err
}

// claim locks a file that is to be this disk's.
func (d *Drive) claim(path string, c Claim) (Lock, error) {
	l, err := d.fs.Lock(path, c)
	if err != nil {
		return nil, err
	}
	o := l.Owner()
	if d.id != "" && o.ID != d.id && c.Name != "" { // it is the same disk
		o.ID = d.id
		err = l.Sign(o)
	}
	if err != nil {
		l.Release()
		return nil, err
	}
	return l, nil
}

// hold makes a lock that of the file that takes what is written.
func (d *Drive) hold(l Lock, name string) {
	o := l.Owner()
	if d.id == "" {
		d.id = o.ID
	}
	d.locks, d.epoch, d.wrote = append(d.locks, l), o.Epoch, name == ""
	d.heir, d.gone = "", false
}

// begun notes in the owner file, before the first write, that what is known of the
// image's content is out of date.
func (d *Drive) begun() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wrote || len(d.locks) == 0 {
		return nil
	}
	l := d.locks[len(d.locks)-1]
	o := l.Owner()
	o.Epoch++
	if err := l.Sign(o); err != nil {
		return fmt.Errorf("owner file of image %s: %w", d.path, err)
	}
	d.epoch, d.wrote = o.Epoch, true
	return nil
}

// Path is the file that takes what is written; Format is its format.
func (d *Drive) Path() string { return d.path }

// Format is Raw or Qcow2.
func (d *Drive) Format() string { return d.format }

// Identity is the disk's, from its owner file, and the epoch of the file that takes
// what is written.
func (d *Drive) Identity() (id string, epoch uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.id, d.epoch
}

// Base is the epoch of the image under an overlay.
func (d *Drive) Base() uint64 { return d.base }

// Renamed says that the file that takes what is written has another name now.
func (d *Drive) Renamed(path string) {
	d.mu.Lock()
	d.path = path
	d.mu.Unlock()
}

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
		for !d.closed && (len(d.jobs) == 0 || d.err != nil || d.img == nil) {
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

// modify begins a job that writes to a range.
func (d *Drive) modify(off, n int64, f func(img Image) error) {
	d.begin(func(img Image) ([]byte, error) {
		d.mayWrite(off, n)
		defer d.written(off, n) // also where it failed half-way
		if err := d.begun(); err != nil {
			return nil, err
		}
		d.forked().spare(off, n)
		return nil, f(img)
	})
}

// forked is the fork under way.
func (d *Drive) forked() *Fork {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fork
}

// Size is the disk's, in bytes.
func (d *Drive) Size() int64 { return d.size }

// ReadOnly tells whether the machine may only read it.
func (d *Drive) ReadOnly() bool { return d.ro }

// Read begins to read n bytes at off.
func (d *Drive) Read(n, off int64) {
	d.begin(func(img Image) ([]byte, error) {
		p := make([]byte, n)
		err := img.ReadAt(p, off)
		if err == nil {
			d.places.note(p, off)
		}
		return p, err
	})
}

// Write begins to write p, which must not change before that is finished. With
// through, that is when it is on stable storage.
func (d *Drive) Write(p []byte, off int64, through bool) {
	d.modify(off, int64(len(p)), func(img Image) error {
		err := img.WriteAt(p, off)
		if err == nil {
			d.places.note(p, off)
		}
		if err == nil && through {
			err = img.Flush()
		}
		return err
	})
}

// Flush begins to bring what was written before to stable storage.
func (d *Drive) Flush() { d.begin(func(img Image) ([]byte, error) { return nil, img.Flush() }) }

// Discard begins to give a range back, which then reads as zeros.
func (d *Drive) Discard(off, n int64) {
	d.modify(off, n, func(img Image) error { return img.Discard(off, n) })
}

// WriteZeroes begins to zero a range.
func (d *Drive) WriteZeroes(off, n int64, unmap bool) {
	d.modify(off, n, func(img Image) error { return img.WriteZeroes(off, n, unmap) })
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
	d.waiting++
	defer func() { d.waiting-- }()
	d.change.Broadcast()
	for len(d.jobs) > 0 && d.err == nil && d.img != nil && !d.closed {
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
	if d.ro || d.img == nil {
		return nil
	}
	if err := d.img.Flush(); err != nil {
		return fmt.Errorf("flush image %s: %w", d.path, err)
	}
	return nil
}

// Settle brings what was written so far to stable storage while requests go on, so
// that Sync has less to do later.
func (d *Drive) Settle() error {
	d.mu.Lock()
	img := d.img
	d.mu.Unlock()
	if d.ro || img == nil {
		return nil
	}
	return img.Flush()
}

// Freeze makes the disk's present content a layer that stays as it is, and path a
// new image over it, which takes what is written from now on. The layer, a file of
// a format, can be read by others while this goes on; its lock stays with the drive.
// All that was begun before is in the layer. After an error nothing has changed.
func (d *Drive) Freeze(ctx context.Context, path string) (layer, format string, err error) {
	if d.ro {
		return d.path, d.format, nil // it is frozen as it is
	}
	if d.next == nil || d.next.path != path {
		if err := d.Prepare(path); err != nil {
			return "", "", err
		}
	}
	if err := d.Sync(ctx); err != nil {
		return "", "", errors.Join(err, d.Unprepare())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	layer, format = d.path, d.format
	d.path, d.format, d.img = path, Qcow2, d.next.img
	d.hold(d.next.lock, d.name)
	d.next = nil
	return layer, format, nil
}

// layer is an image over a drive's present one, which it does not use yet.
type layer struct {
	path string
	img  Image
	lock Lock
}

// Prepare makes the file that Freeze with the same path goes on in, and locks it: that
// takes the host some time, in which the disk can be used.
func (d *Drive) Prepare(path string) error {
	if err := d.Unprepare(); err != nil || d.ro {
		return err
	}
	o := CreateOptions{Format: Qcow2, Backing: d.path, BackingFormat: d.format, FS: d.fs}
	if err := Create(path, o); err != nil {
		return err
	}
	img, err := Open(path, Options{Format: Qcow2, FS: d.fs, locked: true, backing: ReadOnly(d.img)})
	if err != nil {
		return errors.Join(err, d.fs.Remove(path))
	}
	l, err := d.claim(path, Claim{Name: d.name})
	if err != nil {
		return errors.Join(err, img.(*qcow2).f.Close(), d.fs.Remove(path)) // not what is below
	}
	d.next = &layer{path, img, l}
	return nil
}

// Unprepare removes what Prepare made and no Freeze has used.
func (d *Drive) Unprepare() error {
	n := d.next
	if n == nil {
		return nil
	}
	d.next = nil
	n.lock.Release()
	err := errors.Join(n.img.(*qcow2).f.Close(), d.fs.Remove(n.path)) // not what is below
	_ = os.Remove(n.path + OwnerSuffix)                               // it is of no use without its image
	return err
}

// Close finishes what was begun and flushes. A request that has failed is lost, and
// those behind it.
func (d *Drive) Close() error {
	err := errors.Join(d.Unprepare(), d.Drain(context.Background()))
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.change.Broadcast()
	<-d.done
	if d.img != nil {
		err = errors.Join(err, d.img.Close())
	}
	d.release()
	return err
}

// Remove removes an image file that nobody uses, and its owner file.
func Remove(path string) error {
	for _, name := range []string{path, path + OwnerSuffix} {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
