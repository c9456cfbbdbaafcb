package control

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"godwit/internal/host"
)

// Terminal is the user's side of a console.
type Terminal struct {
	In  *os.File
	Out io.Writer // what the guest prints
	Err io.Writer // what we have to say
}

// Interactive tells whether someone sits there.
func (t *Terminal) Interactive() bool {
	out, ok := t.Out.(*os.File)
	return ok && host.IsTerminal(t.In) && host.IsTerminal(out)
}

// AttachOptions says how to attach.
type AttachOptions struct {
	Owner    bool    // leaving otherwise than by detaching means something to the VM
	ReadOnly bool    // only look
	Take     bool    // type in place of who types now
	Replay   int     // bytes of scrollback to see first
	Escape   byte    // prefix of the keys; 0: Ctrl-a
	Started  func()  // called once attached
	End      *Waiter // that waits already, as owner; nil: a new one
}

// Left says how an attachment ended.
type Left struct {
	Detached bool
	Signal   os.Signal // that ended it, or nil
	Status   Status    // of the VM, once it has ended
}

// session is one attachment.
type session struct {
	c    *Client
	con  *ConsoleConn
	t    *Terminal
	o    AttachOptions
	keys keys
	say  sync.Mutex    // one message at a time
	left chan struct{} // closed to detach
	once sync.Once
}

// Attach connects a terminal with a VM's console until the VM ends or the user
// leaves. The terminal is restored whatever happens.
func (c *Client) Attach(t *Terminal, o AttachOptions) (Left, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	end := o.End
	if end == nil {
		var err error
		if end, err = c.Wait(ctx, o.Owner); err != nil {
			return Left{}, err
		}
	}
	con, err := c.Console(!o.ReadOnly, o.Take, o.Replay)
	if err != nil {
		return Left{}, err
	}
	defer con.Close()
	s := &session{c: c, con: con, t: t, o: o, left: make(chan struct{})}
	restore, err := s.raw()
	if err != nil {
		return Left{}, AsError("cannot use the terminal", err)
	}
	defer restore()
	sig := make(chan os.Signal, 1)
	if s.keys.on {
		signal.Notify(sig, host.Terminations()...)
		defer signal.Stop(sig)
	}
	if o.Started != nil {
		o.Started()
	}
	out := make(chan struct{})
	go func() { defer close(out); _, _ = io.Copy(t.Out, con) }()
	go s.typing()
	select {
	case <-out: // the guest has ended, and all of it was printed
	case <-s.left:
		if err := c.Post(ctx, "/v1/detach", nil, nil); err != nil {
			return Left{}, err
		}
		return Left{Detached: true}, nil
	case g := <-sig:
		return Left{Signal: g}, nil
	}
	st, err := end.Result()
	con.Close()
	if st.Name != "" {
		c.home.Client(st.Name).Gone()
	}
	return Left{Status: st}, err
}

// raw prepares the terminal, if it is one.
func (s *session) raw() (restore func(), err error) {
	if !s.t.Interactive() || s.o.ReadOnly {
		return func() {}, nil
	}
	r, err := host.MakeRaw(s.t.In, s.t.Out.(*os.File))
	if err != nil {
		return nil, err
	}
	if s.o.Escape == 0 {
		s.o.Escape = ctrlA
	}
	s.keys = keys{on: true, escape: s.o.Escape}
	s.tell("Console of %q. %s ? for keys, %s d to leave it running.", s.c.name, keyName(s.o.Escape), keyName(s.o.Escape))
	return func() {
		fmt.Fprint(s.t.Err, "\r\n") // the guest left the cursor anywhere
		r.Restore()
	}, nil
}

// tell prints a dim line of ours between the guest's.
func (s *session) tell(format string, args ...any) {
	s.say.Lock()
	defer s.say.Unlock()
	fmt.Fprintf(s.t.Err, "\r\n\x1b[2m"+format+"\x1b[0m\r\n", args...)
}

// typing passes keys to the guest, and acts on ours. The end of a pipe ends the
// typing, not the guest.
func (s *session) typing() {
	if s.o.ReadOnly {
		return
	}
	b := make([]byte, 4096)
	for {
		n, err := s.t.In.Read(b)
		pass, acts := s.keys.feed(b[:n], time.Now())
		if len(pass) > 0 {
			if _, err := s.con.Write(pass); err != nil {
				return
			}
		}
		for _, a := range acts {
			s.act(a)
		}
		if err != nil {
			_ = s.con.CloseWrite() // the guest may have gone
			return
		}
	}
}

// act does what a key asks for.
func (s *session) act(a byte) {
	e := keyName(s.o.Escape)
	switch a {
	case 'd':
		s.once.Do(func() { close(s.left) })
	case 'x':
		s.post("/v1/stop", map[string]string{"how": "force"})
	case 'p':
		s.pause()
	case hintCtrlC:
		s.tell("Ctrl-C goes to the guest. %s x quits, %s d detaches.", e, e)
	default:
		s.tell("%s then  d detach   x quit   p pause or go on   ? this help   %s itself", e, e)
	}
}

func (s *session) post(path string, in any) {
	if err := s.c.Post(context.Background(), path, in, nil); err != nil {
		s.tell("%v", err)
	}
}

func (s *session) pause() {
	st, err := s.c.Status()
	switch {
	case err != nil:
		s.tell("%v", err)
	case st.State == StatePaused:
		s.post("/v1/cont", nil)
		s.tell("running")
	default:
		s.post("/v1/pause", nil)
		s.tell("paused. %s p goes on", keyName(s.o.Escape))
	}
}
