package control

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"godwit/firmware/tiny"
	"godwit/internal/host"
	"godwit/machine"
	"godwit/snapshot"
)

// ProcessVerb is the hidden command that makes an executable the process of a
// VM: Serve is to be called with its one argument.
const ProcessVerb = "vm-process"

// TinyName names the guest that is built in.
const TinyName = "tiny"

// ready is the one line that a VM's process says to whoever started it.
type ready struct {
	Listen string `json:"listen,omitempty"`
	Token  string `json:"token,omitempty"` // that the other side needs; nothing else tells it
	Error  *Error `json:"error,omitempty"`
}

// Launch starts a VM's process and waits until it serves. exe is a program that
// calls Serve.
func (h Home) Launch(exe string, s *Spec) (*Client, error) {
	if s.Name == "" {
		s.Name = birdName(h.exists)
	} else {
		s.Named = true
	}
	if s.Listen != "" {
		s.Name += incomingSuffix
	}
	again := h.resumes(s)
	if err := h.claim(s, again); err != nil {
		return nil, err
	}
	c, err := h.launch(exe, s)
	if err != nil {
		if !again {
			_ = os.RemoveAll(h.Dir(s.Name)) // the error is what matters
		}
		return nil, err
	}
	if again { // from here on there is one owner of the machine: the process
		_ = os.Remove(h.file(s.Name, fileEnd))
		_ = os.Remove(h.file(s.Name, fileState))
	}
	h.Remember(s.Name)
	return c, nil
}

func (h Home) launch(exe string, s *Spec) (*Client, error) {
	log, err := os.OpenFile(h.file(s.Name, fileLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, AsError("cannot start a VM", err)
	}
	defer log.Close()
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, AsError("cannot start a VM", err)
	}
	defer pr.Close()
	p, err := host.Start(exe, []string{ProcessVerb, h.Dir(s.Name)}, pw, log)
	pw.Close()
	if err != nil {
		return nil, AsError("cannot start "+exe, err)
	}
	go func() { _, _ = p.Wait() }() // leave no zombie behind
	var r ready
	line, err := bufio.NewReader(pr).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		b, _ := os.ReadFile(log.Name()) // for what there is
		return nil, Fail("bug", "the VM's process died at its start", string(b[max(0, len(b)-300):]), "")
	}
	if r.Error != nil {
		return nil, r.Error
	}
	c := h.Client(s.Name)
	c.token = r.Token
	return c, nil
}

// process is a VM's process.
type process struct {
	home  Home
	name  string // of the directory
	spec  Spec
	r     *Runner
	srv   *Server
	lock  *os.File
	log   *os.File // inputs recorded
	token string   // of an incoming machine
}

// Serve is the life of a VM's process: it runs the VM of a directory to its end
// and returns the exit code. It says one line on out when it serves.
func Serve(dir string, out io.WriteCloser) int {
	p := &process{home: Home(filepath.Dir(filepath.Dir(dir))), name: filepath.Base(dir)}
	listen, err := p.open()
	var start func()
	if err == nil {
		start, err = p.prepare()
	}
	r := ready{Listen: p.listening(), Token: p.token, Error: AsError("cannot start the VM", err)}
	if err == nil {
		go func() { _ = p.srv.http.Serve(listen) }() // ends with the process
		start()
	}
	b, _ := json.Marshal(r) // our own struct
	_, _ = out.Write(append(b, '\n'))
	out.Close()
	if err != nil {
		return r.Error.Exit
	}
	return p.live()
}

func (p *process) listening() string {
	if p.r == nil {
		return ""
	}
	return p.r.Status().Listen
}

// open makes the directory this process's own.
func (p *process) open() (net.Listener, error) {
	spec, err := p.home.spec(p.name)
	if err != nil {
		return nil, err
	}
	p.spec = spec
	lock, ok, err := host.Lock(p.home.file(p.name, fileLock))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, Fail("state", fmt.Sprintf("%q is running already", p.name), "", "godwit attach "+p.name)
	}
	p.lock = lock
	if err := os.WriteFile(p.home.file(p.name, filePID), fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
		return nil, err
	}
	con, err := os.OpenFile(p.home.file(p.name, fileConsole), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p.r = newRunner(&p.spec, con, p.home.Dir(p.name))
	p.srv = newServer(p.r)
	return p.socket()
}

func (p *process) socket() (net.Listener, error) {
	path, err := p.home.placeSock(p.name)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(path) // left by a process that died
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it may have moved
	return l, os.Chmod(path, 0o600)
}

// prepare builds the machine, or opens the port it will come in by, and returns
// what sets it going.
func (p *process) prepare() (func(), error) {
	switch {
	case p.spec.Listen != "":
		return p.incoming()
	case p.spec.Resume != "" || p.spec.Fork != nil:
		m, err := p.load()
		return func() { p.begin(m, p.spec.Paused) }, err
	}
	m, err := p.boot()
	return func() { p.begin(m, p.spec.Paused) }, err
}

// boot builds a new machine.
func (p *process) boot() (*machine.Machine, error) {
	images, err := p.spec.images()
	if err != nil {
		return nil, err
	}
	m, err := machine.New(p.spec.Machine, images, p.r)
	if e := fromDisk("cannot start the VM", err); e != nil {
		return nil, e
	}
	if errors.Is(err, machine.ErrMemory) {
		return nil, AsError("cannot start the VM", err)
	}
	if err != nil {
		return nil, Fail("usage", "the machine cannot be built", strings.ReplaceAll(err.Error(), "\n", "; "), "")
	}
	if err := m.Boot(); err != nil {
		m.Close()
		return nil, AsError(bootWhat+p.spec.Source, err)
	}
	return m, p.wireLog(m)
}

// images reads the files the machine boots from.
func (s *Spec) images() (machine.Images, error) {
	var im machine.Images
	if s.Bios != "" {
		b, err := readImage(s.Bios)
		im.Bios = b
		return im, err
	}
	if s.Kernel == TinyName {
		im.Kernel = tiny.Image
	} else {
		b, err := readImage(s.Kernel)
		if err != nil {
			return im, err
		}
		im.Kernel = b
	}
	if s.Initrd == "" {
		return im, nil
	}
	b, err := readImage(s.Initrd)
	im.Initrd = b
	return im, err
}

// maxImage bounds what is read as a kernel or initrd, in bytes.
const maxImage = 1 << 30

func readImage(path string) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, AsError("cannot read "+path, err)
	}
	if fi.IsDir() || fi.Size() > maxImage {
		return nil, Fail("usage", "cannot boot "+path, "it is a directory, or larger than 1 GiB", "godwit run tiny")
	}
	b, err := os.ReadFile(path)
	return b, AsNil(err, "cannot read "+path)
}

// load builds the machine of a snapshot file, whole or as far as it is needed first.
func (p *process) load() (*machine.Machine, error) {
	if p.spec.Fork != nil {
		if err := p.fork(); err != nil {
			return nil, AsError("cannot fork "+p.spec.Source, err)
		}
	}
	what, opened := "cannot resume "+p.spec.Resume, time.Now()
	f, err := snapshot.Open(snapshot.Disk{}, p.spec.Resume)
	if err != nil {
		return nil, AsError(what, err)
	}
	if err := p.spec.knowDisks(f.Small()); err != nil {
		return nil, errors.Join(AsError(what, err), f.Close())
	}
	own := p.home.own(p.name, p.spec.Resume)
	if own {
		if err := p.layDisks(f.Meta().UUID); err != nil {
			return nil, AsError(what, err)
		}
	}
	m, err := p.r.load(f, p.spec.Load)
	if err == nil && !own {
		err = p.r.renoteTops(m)
	}
	switch {
	case err == nil && own:
		err = p.rests(m, f)
	case p.r.loader == nil: // all of it was read, or none will be
		err = errors.Join(err, f.Close())
	}
	if e := fromDisk(what, err); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, AsError(what, err)
	}
	if err := p.wireLog(m); err != nil {
		return nil, err
	}
	p.age(m, f.Meta().Created)
	p.identify(m)
	p.r.opened, p.r.from = opened, m.Count()
	return m, nil
}

// identify makes a machine another one where it is: a fork is, and so is what goes on
// from a file that others can go on from as well, or that it went on from before. Its
// guest must not use the same keys again. Only what was suspended in the VM's own
// directory is sure to go on once. In virtual time a machine is a function of its file
// and its inputs, and stays who it was unless it was forked.
func (p *process) identify(m *machine.Machine) {
	copied := m.Config().Clock == machine.ClockWall && filepath.Dir(p.spec.Resume) != p.home.Dir(p.name)
	if p.spec.Replay != "" || p.spec.Fork == nil && !copied {
		return
	}
	b := make([]byte, 32)
	rand.Read(b) // never fails
	m.Input(machine.InputFork, b)
}

// age does to the guest's clock what was asked about the time since the machine was
// saved, in Unix nanoseconds. A replay finds that in its log.
func (p *process) age(m *machine.Machine, saved int64) {
	if p.spec.Replay != "" {
		return
	}
	m.CatchUp(p.spec.GuestClock, time.Now().UnixNano()-max(saved, 0))
	p.r.pace.slew = time.Duration(m.Lag())
}

// wireLog connects --record and --replay.
func (p *process) wireLog(m *machine.Machine) error {
	if p.spec.Replay != "" {
		f, err := os.Open(p.spec.Replay)
		if err != nil {
			return AsError("cannot replay "+p.spec.Replay, err)
		}
		defer f.Close()
		in, err := machine.ReadLog(bufio.NewReader(f))
		if err != nil {
			return Fail("incompatible", "cannot replay "+p.spec.Replay, err.Error(), "godwit run --record FILE  to make a log")
		}
		m.Replay(in)
	}
	if p.spec.Record == "" {
		return nil
	}
	f, err := os.OpenFile(p.spec.Record, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return writing("cannot record to "+p.spec.Record, err)
	}
	w, err := machine.NewLogWriter(f)
	if err != nil {
		return AsError("cannot record to "+p.spec.Record, err)
	}
	p.log = f
	m.SetLog(func(in machine.Input) {
		if err := w.Add(in); err != nil {
			fmt.Fprintln(os.Stderr, "recording stops:", err)
			m.SetLog(nil)
		}
	})
	return nil
}

// begin lets the machine run.
func (p *process) begin(m *machine.Machine, paused bool) {
	p.spec.Machine = m.Config()
	spec := p.spec // the machine's goroutine changes the other
	p.r.Start(m, paused)
	_ = writeJSON(p.home.file(p.name, fileSpec), &spec) // people's information, for which the guest need not wait
	go func() {
		<-p.r.done
		close(p.srv.ended)
	}()
}

// live waits for the end, or for being told to end.
func (p *process) live() int {
	sig := make(chan os.Signal, 2)
	signal.Notify(sig, host.Terminations()...)
	signal.Ignore(syscall.SIGPIPE)
	for {
		select {
		case <-sig:
			p.srv.save()
		case <-p.srv.ended:
			return p.bury()
		}
	}
}

// bury leaves word of what happened, and ends.
func (p *process) bury() int {
	st := p.r.Status()
	st.PID = 0
	dir := p.r.home()
	if !p.spec.Ephemeral {
		_ = writeJSON(filepath.Join(dir, fileEnd), &st) // ls then says "lost"
	}
	p.srv.close()
	if p.log != nil {
		p.log.Close()
	}
	if sock := p.home.sock(filepath.Base(dir)); filepath.Dir(sock) != dir || !p.spec.Ephemeral {
		_ = os.Remove(sock)
	}
	if p.spec.Ephemeral && p.home.unused(filepath.Base(dir)) == nil {
		_ = p.home.vanish(dir)
	}
	p.lock.Close()
	if st.End == nil {
		return ExitFailed
	}
	return st.End.Exit
}

// finalName is what the VM is to be called once it is here.
func (p *process) finalName(what about) string {
	if !p.spec.Named && what.Name != "" && !p.home.exists(what.Name) {
		return what.Name
	}
	return strings.TrimSuffix(p.name, incomingSuffix)
}

// arrive gives the VM its final name: the one asked for, else the one it had,
// else the one it waited under. Where the directory cannot be renamed, as on
// Windows while it is in use, it stays NAME.incoming.
func (p *process) arrive(what about) {
	name := p.finalName(what)
	if p.home.exists(name) {
		name = birdName(p.home.exists)
	}
	if os.Rename(p.home.Dir(p.name), p.home.Dir(name)) != nil {
		name = p.name
	}
	p.r.con.print(what.Screen)
	p.name, p.spec.Name = name, name
	if what.Source != "" {
		p.spec.Source = what.Source
	}
	p.r.mu.Lock()
	p.r.dir = p.home.Dir(name)
	p.r.status.Name, p.r.status.Source, p.r.status.Listen = name, p.spec.Source, ""
	p.r.mu.Unlock()
	p.home.Remember(name)
}
