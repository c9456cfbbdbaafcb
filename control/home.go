package control

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"godwit/internal/host"
	"godwit/machine"
)

// Home is the folder where VMs are known: $GODWIT_HOME, or .godwit in the user's
// home directory.
type Home string

// DefaultHome is the folder that the environment names.
func DefaultHome() (Home, error) {
	if h := os.Getenv("GODWIT_HOME"); h != "" {
		abs, err := filepath.Abs(h)
		return Home(abs), err
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return "", Fail("usage", "no home directory", err.Error(), "GODWIT_HOME=DIR godwit ...")
	}
	return Home(filepath.Join(h, ".godwit")), nil
}

// Files of a VM's directory.
const (
	fileSpec     = "config.json"
	filePID      = "pid"
	fileLock     = "lock"
	fileSock     = "sock"
	fileSockPath = "sock.path"
	fileConsole  = "console.log"
	fileLog      = "vm.log"
	fileState    = "state.gwsnap"
	fileEnd      = "end.json"
	fileOwner    = "owner.json"
	fileHistory  = "migrations.jsonl" // of the home, not of a VM
)

// maxSockPath is the longest path of a Unix socket, in bytes, that every host
// takes: macOS allows 104 with the final zero.
const maxSockPath = 100

// incomingSuffix marks VMs that have not arrived yet.
const incomingSuffix = ".incoming"

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// CheckName says whether a VM can be called that.
func CheckName(name string) error {
	if nameForm.MatchString(strings.TrimSuffix(name, incomingSuffix)) {
		return nil
	}
	return Fail("usage", fmt.Sprintf("VM name %q is not possible", name),
		"names are 1 to 40 of a-z, 0-9 and -, and start with a letter or digit", "-n plover")
}

func (h Home) vms() string { return filepath.Join(string(h), "vm") }

// Dir is a VM's directory.
func (h Home) Dir(name string) string { return filepath.Join(h.vms(), name) }

func (h Home) file(name, file string) string { return filepath.Join(h.Dir(name), file) }

// Names lists the VMs that have a directory.
func (h Home) Names() []string {
	es, _ := os.ReadDir(h.vms()) // no directory, no VMs
	var out []string
	for _, e := range es {
		if e.IsDir() && CheckName(e.Name()) == nil {
			out = append(out, e.Name())
		}
	}
	return out
}

func (h Home) exists(name string) bool {
	_, err := os.Stat(h.Dir(name))
	return err == nil
}

// Alive tells whether a process runs the VM.
func (h Home) Alive(name string) bool {
	locked, err := host.Locked(h.file(name, fileLock))
	return err == nil && locked
}

// sock is where the VM's socket is.
func (h Home) sock(name string) string {
	if b, err := os.ReadFile(h.file(name, fileSockPath)); err == nil {
		return strings.TrimSpace(string(b))
	}
	return h.file(name, fileSock)
}

// placeSock chooses where a VM's socket goes, and records the place if it is not
// in the VM's directory: where the path would be too long, and for machines that
// are still to arrive, whose directory will be renamed under their clients.
func (h Home) placeSock(name string) (string, error) {
	p := h.file(name, fileSock)
	if len(p) <= maxSockPath && !strings.HasSuffix(name, incomingSuffix) {
		return p, nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("godwit-%d", os.Getuid()))
	if len(dir) > maxSockPath-24 {
		dir = fmt.Sprintf("/tmp/godwit-%d", os.Getuid())
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := private(dir); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(p + strconv.Itoa(os.Getpid())))
	short := filepath.Join(dir, fmt.Sprintf("%x", sum[:8]))
	return short, os.WriteFile(h.file(name, fileSockPath), []byte(short+"\n"), 0o600)
}

// Spec is what a VM's process is started with.
type Spec struct {
	Name    string         `json:"name"`
	Machine machine.Config `json:"machine"`
	Source  string         `json:"source"` // for people: what it was started from

	// Exactly one of these says where the machine comes from.
	Kernel string `json:"kernel,omitempty"` // a file, or "tiny"
	Bios   string `json:"bios,omitempty"`   // a ROM file
	Resume string `json:"resume,omitempty"` // a snapshot file
	Fork   *Fork  `json:"fork,omitempty"`   // a snapshot of another VM
	Listen string `json:"listen,omitempty"` // an address to receive at

	Insecure bool `json:"insecure,omitempty"` // with Listen: from anybody, not encrypted

	DiskFiles []DiskFile `json:"disk_files,omitempty"` // in place of those that a saved machine names

	GuestClock machine.ClockPolicy `json:"guest_clock,omitempty"` // with Resume: what the guest's clock does about the time that it lay in the file

	Load      Load    `json:"load,omitempty"` // how much of memory a resumed machine has at first
	Initrd    string  `json:"initrd,omitempty"`
	Paused    bool    `json:"paused,omitempty"`
	Until     *uint64 `json:"until,omitempty"`      // count at which to end
	TimeoutNS int64   `json:"timeout_ns,omitempty"` // guest time at which to end
	Hash      bool    `json:"hash,omitempty"`       // tell the state hash at the end
	Record    string  `json:"record,omitempty"`
	Replay    string  `json:"replay,omitempty"`
	Ephemeral bool    `json:"ephemeral,omitempty"` // leave no directory behind
	Named     bool    `json:"named,omitempty"`     // the user chose the name
	Orphan    Orphan  `json:"orphan,omitempty"`    // what to do without an owner
}

// Orphan says what a VM does when its owner vanishes.
type Orphan string

// What to do without an owner.
const (
	OrphanKeep    Orphan = "keep"
	OrphanSuspend Orphan = "suspend"
	OrphanStop    Orphan = "stop"
)

// claim makes the VM's directory, in place of one whose VM has ended. A VM that
// runs, or that is suspended there, keeps its own.
// again says that the VM goes on where it was suspended, in its own directory.
func (h Home) claim(s *Spec, again bool) error {
	if again {
		return writeJSON(h.file(s.Name, fileSpec), s)
	}
	if err := CheckName(s.Name); err != nil {
		return err
	}
	if err := os.MkdirAll(h.vms(), 0o700); err != nil {
		return AsError("cannot make "+h.vms(), err)
	}
	err := os.Mkdir(h.Dir(s.Name), 0o700)
	if errors.Is(err, fs.ErrExist) {
		if err := h.free(s.Name); err != nil {
			return err
		}
		if err := h.unused(s.Name); err != nil {
			return err
		}
		if err := os.RemoveAll(h.Dir(s.Name)); err != nil {
			return AsError("cannot use "+h.Dir(s.Name), err)
		}
		err = os.Mkdir(h.Dir(s.Name), 0o700)
	}
	if err != nil {
		return AsError("cannot make "+h.Dir(s.Name), err)
	}
	return writeJSON(h.file(s.Name, fileSpec), s)
}

// resumes tells whether a VM is to go on that is suspended under that name.
func (h Home) resumes(s *Spec) bool {
	if s.Resume != "" && h.own(s.Name, s.Resume) && !h.Alive(s.Name) {
		return true
	}
	end, err := h.end(s.Name)
	return err == nil && s.Resume != "" && end.State == StateSuspended && end.End.File == s.Resume && !h.Alive(s.Name)
}

// free says why a name cannot be used again.
func (h Home) free(name string) error {
	what := fmt.Sprintf("cannot make a VM named %q", name)
	if h.Alive(name) {
		return Fail("state", what, "one of that name is running", "godwit attach "+name+", or another  -n NAME")
	}
	if h.hasSnaps(name) {
		return Fail("state", what, "one of that name has snapshots", "godwit snap tree "+name+", or  godwit rm "+name)
	}
	if end, err := h.end(name); err == nil && end.State == StateSuspended {
		return Fail("state", what, "one of that name is suspended", "godwit resume "+name+", or  godwit rm "+name)
	}
	return nil
}

// spec reads what a VM was started with.
func (h Home) spec(name string) (Spec, error) {
	var s Spec
	err := readJSON(h.file(name, fileSpec), &s)
	return s, err
}

// end reads what became of a VM whose process is gone.
func (h Home) end(name string) (Status, error) {
	var s Status
	err := readJSON(h.file(name, fileEnd), &s)
	return s, err
}

// Remember makes a VM the one that commands without a name mean.
func (h Home) Remember(name string) {
	_ = os.WriteFile(filepath.Join(string(h), "last"), []byte(name+"\n"), 0o600) // a convenience only
}

// Resolve finds the VM that a command means: the one named, else the last one
// used, else the only one there is.
func (h Home) Resolve(name string) (string, error) {
	if name != "" {
		if h.exists(name) && CheckName(name) == nil {
			return name, nil
		}
		e := Fail("not-found", fmt.Sprintf("no VM is named %q", name), "", "godwit ls -a")
		e.Field, e.Have = "name", name
		if near := Nearest(name, h.Names()); near != "" {
			e.Hint = near + ", or  godwit ls -a"
		}
		return "", e
	}
	if b, err := os.ReadFile(filepath.Join(string(h), "last")); err == nil {
		if n := strings.TrimSpace(string(b)); CheckName(n) == nil && h.exists(n) {
			return n, nil
		}
	}
	live := h.living()
	switch len(live) {
	case 1:
		return live[0], nil
	case 0:
		return "", Fail("not-found", "there is no VM", "", "godwit run tiny")
	}
	return "", Fail("usage", "several VMs are running: "+strings.Join(live, ", "), "say which", "godwit ls")
}

func (h Home) living() []string {
	var live []string
	for _, n := range h.Names() {
		if h.Alive(n) {
			live = append(live, n)
		}
	}
	return live
}

// resolveLive is Resolve for a command that needs a running VM: without a name,
// the only one that lives comes before the last one used.
func (h Home) resolveLive(name string) (string, error) {
	n, err := h.Resolve(name)
	if name != "" || err == nil && h.Alive(n) {
		return n, err
	}
	if live := h.living(); len(live) == 1 {
		return live[0], nil
	}
	return n, err
}

// List tells of all VMs.
func (h Home) List() []Status {
	var out []Status
	for _, n := range h.Names() {
		out = append(out, h.Look(n))
	}
	return out
}

// Look tells of one VM, asking its process if there is one.
func (h Home) Look(name string) Status {
	if h.Alive(name) {
		if s, err := h.Client(name).Status(); err == nil {
			return s
		}
	}
	if s, err := h.end(name); err == nil {
		return s
	}
	s := Status{Name: name, State: StateLost}
	if spec, err := h.spec(name); err == nil {
		s.fill(&spec)
	}
	if h.Alive(name) {
		s.State = StateStarting
	}
	return s
}

// vanish removes a VM's directory at once, for others who look; and what one that was
// killed at it has left. Where a directory in use cannot be renamed, it goes file by file.
func (h Home) vanish(dir string) error {
	gone := filepath.Join(h.vms(), fmt.Sprint(gonePrefix, os.Getpid()))
	if os.Rename(dir, gone) != nil {
		gone = dir
	}
	left, err := filepath.Glob(filepath.Join(h.vms(), gonePrefix+"*"))
	for _, d := range append(left, gone) {
		err = errors.Join(err, os.RemoveAll(d))
	}
	return err
}

// gonePrefix begins the names of directories that are being removed; no VM is called so.
const gonePrefix = ".gone-"

// Remove forgets a VM that does not run.
func (h Home) Remove(name string) error {
	if h.Alive(name) {
		return Fail("state", fmt.Sprintf("cannot remove %q", name), "it is running", "godwit stop --force "+name)
	}
	if err := h.unused(name); err != nil {
		return err
	}
	if p := h.sock(name); filepath.Dir(p) != h.Dir(name) {
		os.Remove(p)
	}
	return AsNil(h.vanish(h.Dir(name)), "cannot remove "+h.Dir(name))
}

// AsNil is AsError that keeps nil an untyped nil.
func AsNil(err error, what string) error {
	if err == nil {
		return nil
	}
	return AsError(what, err)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return AsError("cannot write "+path, err)
	}
	return os.Rename(tmp, path)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
