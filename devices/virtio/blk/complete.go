package blk

import (
	"context"

	"godwit/devices"
	"godwit/devices/virtio"
)

// eventDue is the instant at which the oldest request completes.
const eventDue devices.EventID = 0

// schedule decides when a request completes.
func (d *Device) schedule(r *request) {
	if d.w.Clock == nil {
		return
	}
	now := int64(d.w.Clock.Now())
	wait := int64(latency)
	if r.Type == typeFlush {
		wait = flushLatency
	}
	d.Busy = max(d.Busy, now) + r.moved()/bytesPerNano
	r.Due = d.Busy + wait
	if n := len(d.Requests); n > 0 { // a flush holds up those behind it
		r.Due = max(r.Due, d.Requests[n-1].Due)
	} else {
		d.w.Clock.At(devices.Nanos(r.Due), eventDue)
	}
}

// Event completes what is due.
func (d *Device) Event(devices.EventID) { d.deliver() }

// Retry goes on with what could not go on before.
func (d *Device) Retry() {
	d.Transport.Retry()
	if d.Waiting {
		d.deliver()
	}
}

// Arrive lets the oldest n requests complete that have not yet, where there is no
// clock: at once, or as soon as the host has finished them.
func (d *Device) Arrive(n uint32) {
	d.Arrived = uint32(min(uint64(d.Arrived)+uint64(n), uint64(len(d.Requests))))
	d.deliver()
}

// Ready is how many requests are finished for which Arrive has not been called,
// without those behind one that is not.
func (d *Device) Ready() uint32 {
	d.collect()
	n := d.Arrived
	for int(n) < len(d.Requests) && d.Requests[n].Finished {
		n++
	}
	return n - d.Arrived
}

// Quiesce waits for the host.
func (d *Device) Quiesce(ctx context.Context) error {
	err := d.w.Disk.Drain(ctx)
	d.collect()
	return err
}

// Resume has the host begin anew what it had not finished when the state was
// saved. It is to be called once, after Restored.
func (d *Device) Resume() {
	for i := range d.Requests {
		if r := &d.Requests[i]; !r.Finished {
			d.start(r)
		}
	}
}

// collect takes over what the host has finished.
func (d *Device) collect() {
	for i := range d.Requests {
		r := &d.Requests[i]
		if r.Finished {
			continue
		}
		data, ok := d.w.Disk.Collect()
		if !ok {
			return
		}
		r.Data, r.Finished = data, true
	}
}

// due tells whether the oldest request is to complete now.
func (d *Device) due() bool {
	switch {
	case len(d.Requests) == 0:
		return false
	case d.w.Clock == nil:
		return d.Arrived > 0
	}
	return devices.Nanos(d.Requests[0].Due) <= d.w.Clock.Now()
}

// deliver gives back what is due, in order, until the host is late or has no room
// to keep what was in guest memory before.
func (d *Device) deliver() {
	var old [virtio.MaxQueues]uint16
	for q := range d.w.Queues {
		old[q] = d.Used(q)
	}
	d.collect()
	d.Waiting = false
	for d.due() && !d.Waiting {
		r := &d.Requests[0]
		switch {
		case !r.Finished:
			d.Waiting = true
			d.w.Late()
		case d.Live() && !d.give(r): // what cannot be given is lost, as with hardware
			d.Waiting = true
		default:
			d.pop()
		}
	}
	for q := range d.w.Queues {
		if d.Live() {
			d.Signal(q, old[q])
		}
	}
	if d.Waiting {
		return
	}
	if len(d.Requests) > 0 && d.w.Clock != nil {
		d.w.Clock.At(devices.Nanos(d.Requests[0].Due), eventDue)
	}
	d.Transport.Retry() // there may be room for more
}

// pop drops the oldest request.
func (d *Device) pop() {
	n := copy(d.Requests, d.Requests[1:])
	d.Requests[n] = request{}
	d.Requests = d.Requests[:n]
	if n == 0 {
		d.Requests = nil // as in a new device: the encodings must not differ
	}
	d.Arrived -= min(d.Arrived, 1)
}

// give writes a result to guest memory. False: the machine was asked to stall.
func (d *Device) give(r *request) bool {
	q := &d.Virtio.Queues[r.Queue]
	kicked := q.Kicked
	ok := d.write(r)
	// Why: what the driver has made available without a word is not to be served
	// earlier in a machine that had to stall.
	q.Kicked = kicked
	return ok
}

func (d *Device) write(r *request) bool {
	for _, s := range r.In {
		if !d.Touch(int(r.Queue), s.Addr, uint64(s.Len)) {
			return false
		}
	}
	c := virtio.Chain{Head: r.Head, In: r.In}
	room := virtio.Bytes(r.In)
	written := uint32(0)
	if r.Status == statusOK {
		d.Scatter(&c, 0, r.Data[:min(uint64(len(r.Data)), room-1)])
		written = uint32(len(r.Data)) + 1
	}
	d.Scatter(&c, room-1, []byte{r.Status})
	return d.Done(int(r.Queue), r.Head, written)
}
