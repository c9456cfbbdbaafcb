package control

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"godwit/internal/host"
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

// Receive waits for a machine that is sent and stays with it until it ends or
// the user detaches.
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
	st, err := c.Status()
	if err != nil {
		return nil, Left{}, err
	}
	fmt.Fprintf(t.Err, "listening on %s.  On the other side:  godwit send VM %s\n", st.Listen, st.Listen)
	op, err := c.Follow(ctx, "receive", func(e Event) {
		if e.Name == "refused" {
			fmt.Fprint(t.Err, e.Op.Error.Text())
		}
	})
	if err != nil {
		return nil, Left{}, err
	}
	stop()
	fmt.Fprintf(t.Err, "received %q at #%d, %d bytes\n", op.Status.Name, op.Moved.Count, op.Moved.Bytes)
	c = h.Client(op.Status.Name)
	left, err := c.Attach(t, o)
	return c, left, err
}
