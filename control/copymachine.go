package control

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"godwit/machine"
	"godwit/snapshot"
)

// copyMachine writes the machine as it is now to a file, and what its disks hold now to
// files beside it. The guest runs on, and nothing of the VM changes: neither its snapshots
// nor its disks.
func (r *Runner) copyMachine(o *ops, file string) (*op, error) {
	what := "cannot copy the machine to " + file
	if !filepath.IsAbs(file) {
		return nil, Fail("usage", what, "it is no absolute path", "")
	}
	if err := r.begin(StateSaving, "copied"); err != nil {
		return nil, err
	}
	r.share(true)
	p, ctx := o.start("copy", "pages")
	go func() {
		res, err := r.writeCopy(ctx, p, file)
		r.settle()
		p.finish(AsError(what, err), func(o *Op) { o.Saved = res })
	}()
	return p, nil
}

func (r *Runner) writeCopy(ctx context.Context, p *op, file string) (_ *SaveResult, err error) {
	forks, err := r.forkDisks(file)
	if err != nil {
		return nil, errors.Join(err, forks.drop())
	}
	var shot *machine.Shot
	start := time.Now()
	var pause time.Duration
	if err := r.onMachine(func() (err error) {
		stop := time.Now()
		shot, err = r.shootForked(ctx, forks)
		pause = time.Since(stop)
		return err
	}); err != nil {
		return nil, errors.Join(err, forks.drop())
	}
	ctx, cancel := context.WithCancel(ctx)
	disks := make(chan error, 1)
	go func() { disks <- forks.copy(ctx) }()
	defer func() {
		if err != nil {
			cancel()
		}
		err = errors.Join(err, <-disks)
		cancel()
	}()
	defer func() { _ = r.onMachine(func() error { shot.Close(); return nil }) }() // fails where the machine is gone
	secs, err := shot.Sections()
	if err != nil {
		return nil, err
	}
	meta := snapshot.Meta{Count: shot.Count, Created: start.UnixNano(), CPUModel: shot.CPU}
	st, err := snapshot.Write(ctx, snapshot.Disk{}, file, meta, secs, shot, snapshot.Options{
		Codec:    snapshot.S2,
		Progress: func(done, total uint32) { p.progress(uint64(done), uint64(total)) },
	})
	if err != nil {
		return nil, writing("cannot copy the machine to "+file, err)
	}
	return &SaveResult{file, fmt.Sprintf("%x", st.Root), shot.Count, st.Bytes, st.Pages, st.Zero, int64(pause)}, nil
}
