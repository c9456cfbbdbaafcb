package control

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"time"

	"godwit/internal/host"
	"godwit/migrate/secure"
)

// Logs writes what a guest printed, from the file that is kept of it; follow
// goes on until the VM ends.
func (h Home) Logs(name string, w io.Writer, follow, process bool) error {
	name, err := h.Resolve(name)
	if err != nil {
		return err
	}
	file := fileConsole
	if process {
		file = fileLog
	}
	var con *ConsoleConn
	if follow && !process && h.Alive(name) {
		// Attached first: what is printed from now on comes by the console, and
		// what was printed before is in the file.
		if con, err = h.Client(name).Console(false, false, 0); err != nil {
			return err
		}
		defer con.Close()
	}
	f, err := os.Open(h.file(name, file))
	if err != nil {
		return AsError(fmt.Sprintf("%q has no log", name), err)
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil || con == nil {
		return AsNil(err, "cannot show the log")
	}
	_, err = io.Copy(w, con)
	return AsNil(err, "cannot follow the log")
}

// ShowProgress shows an operation's progress: at a terminal in one line that is
// written again, elsewhere a line a second.
func ShowProgress(w io.Writer) func(Event) {
	f, _ := w.(*os.File)
	tty := f != nil && host.IsTerminal(f)
	every := time.Second
	if tty {
		every = 100 * time.Millisecond
	}
	shown := time.Now()
	return func(e Event) {
		if tty && e.final() {
			fmt.Fprint(w, "\r\x1b[K")
			return
		}
		if time.Since(shown) < every || e.Op.Total == 0 {
			return
		}
		shown = time.Now()
		line := fmt.Sprintf("%s  %d of %d %s", e.Op.Verb, e.Op.Done, e.Op.Total, e.Op.Unit)
		if tty {
			fmt.Fprintf(w, "\r%s\x1b[K", line)
		} else {
			fmt.Fprintln(w, line)
		}
	}
}

// ShowBytes shows how many bytes of a file are done: at a terminal as a bar, elsewhere
// in a line a second.
func ShowBytes(w io.Writer, verb string) func(done, total int64) {
	f, _ := w.(*os.File)
	return showBytes(w, verb, f != nil && host.IsTerminal(f), time.Now)
}

func showBytes(w io.Writer, verb string, tty bool, now func() time.Time) func(done, total int64) {
	last, shown := int64(-1), now()
	return func(done, total int64) {
		percent := done * 100 / max(1, total)
		switch {
		case percent == last:
		case tty:
			last = percent
			fmt.Fprintf(w, "\r%s  %s %3d %%", verb, bar(uint64(done), uint64(total), uint64(total)), percent)
			if percent == 100 {
				fmt.Fprint(w, "\r\x1b[K")
			}
		case now().Sub(shown) >= time.Second:
			last, shown = percent, now()
			fmt.Fprintf(w, "%s  %d %%  %d of %d bytes\n", verb, percent, done, total)
		}
	}
}

// Receive waits for a machine and stays with it until it ends or the user
// detaches.
func (h Home) Receive(exe string, s *Spec, t *Terminal, o AttachOptions) (*Client, Left, error) {
	if s.Orphan == "" {
		s.Orphan = h.orphan(s, t)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := h.Launch(exe, s)
	if err != nil {
		return nil, Left{}, err
	}
	if o.End, err = c.Wait(context.Background(), true); err != nil {
		return nil, Left{}, err
	}
	o.Replay = scrollback
	if err := c.Invite(t.Err); err != nil {
		return nil, Left{}, err
	}
	st, err := c.Arrived(ctx, t.Err)
	if err != nil {
		return nil, Left{}, err
	}
	stop()
	c = h.Client(st.Name)
	left, err := c.Attach(t, o)
	return c, left, err
}

// Invite says what to type on the other side.
func (c *Client) Invite(w io.Writer) error {
	st, err := c.Status()
	if err != nil {
		return err
	}
	if c.token == "" {
		fmt.Fprintf(w, "listening on %s, not encrypted.  On the other side:  godwit migrate VM %s --insecure\n", st.Listen, reachable(st.Listen))
		return nil
	}
	fmt.Fprintf(w, "listening on %s.  On the other side:  godwit migrate VM %s\ntoken  %s   for one machine, within %d minutes\n",
		st.Listen, reachable(st.Listen), c.token, int(secure.Lifetime.Minutes()))
	return nil
}

// reachable makes an address to listen at one to connect to.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return listen
	}
	if host, err = os.Hostname(); err != nil {
		host = "HOST"
	}
	return net.JoinHostPort(host, port)
}

// Arrived waits until a machine has come and runs, and tells meanwhile what
// happens. What is missing of it may still be on its way.
func (c *Client) Arrived(ctx context.Context, w io.Writer) (*Status, error) {
	here, stop := context.WithCancel(ctx)
	defer stop()
	r := NewRounds(w, "")
	var st *Status
	_, err := c.follow(ctx, here, "receive", func(e Event) {
		switch {
		case e.Name == "refused":
			r.End()
			fmt.Fprint(w, e.Op.Error.Text())
		case e.Name == "arrived":
			st = e.Op.Status
			stop()
		case e.Op.Event != nil && !e.final():
			r.Event(e.Op.Event)
		}
	})
	r.End()
	if st != nil {
		fmt.Fprintf(w, "received %q at #%d\n", st.Name, st.Count)
		return st, nil
	}
	return nil, err
}
