package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/control"
	"godwit/internal/host"
	"godwit/machine"
)

// runFlags are the flags of run.
type runFlags struct {
	limits
	memory, clock, cpu     string
	kernel, initrd, append string
	cpus                   int
	noReboot, exitDevice   bool
	dryRun                 bool
	bios, debugExit        string
	debugcon               string
	testDev                bool
	disks                  []string
}

// limits are the flags of all commands that set a machine going.
type limits struct {
	name           string
	detach, paused bool
	ephemeral      bool
	until          string
	hash           bool
	timeout        time.Duration
	record, replay string
	escape         string
	files          []string // of disks
}

func (l *limits) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&l.name, "name", "n", "", "name of the VM (default: a bird)")
	f.BoolVarP(&l.detach, "detach", "d", false, "leave it running in the background")
	f.BoolVarP(&l.paused, "paused", "S", false, "do not run yet: godwit cont")
	f.BoolVar(&l.ephemeral, "ephemeral", false, "leave nothing behind")
	f.StringVar(&l.until, "until", "", "end at this count: '#1000000'")
	f.BoolVar(&l.hash, "state-hash", false, "print count and state hash at the end")
	f.DurationVar(&l.timeout, "timeout", 0, "end with exit code 6 when guest time is this far: 90s")
	f.StringVar(&l.record, "record", "", "log every input to a file")
	f.StringVar(&l.replay, "replay", "", "take every input from such a file")
	f.StringVar(&l.escape, "escape", "ctrl-a", "prefix of the console's keys")
}

// registerFiles offers what only makes sense for a machine that has disks already.
func (l *limits) registerFiles(c *cobra.Command) {
	c.Flags().StringArrayVar(&l.files, "disk", nil, "ID=FILE[,format=raw|qcow2]: where a disk of the VM is here; repeatable")
}

// spec fills in what the flags say.
func (l *limits) spec() (*control.Spec, error) {
	s := &control.Spec{
		Name: l.name, Paused: l.paused, TimeoutNS: int64(l.timeout), Hash: l.hash, Ephemeral: l.ephemeral,
	}
	if l.name != "" {
		if err := control.CheckName(l.name); err != nil {
			return nil, err
		}
	}
	if l.timeout < 0 {
		return nil, control.Fail("usage", fmt.Sprintf("timeout %s is below zero", l.timeout), "it is guest time", "--timeout 90s")
	}
	if l.until != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(l.until, "#"), 10, 64)
		if err != nil {
			return nil, control.Fail("usage", fmt.Sprintf("count %q is no number", l.until), "", "--until '#1000000'")
		}
		s.Until = &n
	}
	for _, text := range l.files {
		f, err := control.ParseDiskFile(text)
		if err != nil {
			return nil, err
		}
		s.DiskFiles = append(s.DiskFiles, f)
	}
	for _, p := range []struct{ from, to *string }{{&l.record, &s.Record}, {&l.replay, &s.Replay}} {
		if *p.from == "" {
			continue
		}
		abs, err := filepath.Abs(*p.from)
		if err != nil {
			return nil, err
		}
		*p.to = abs
	}
	return s, nil
}

// measured tells that the run is for a result, not for someone to watch.
func (l *limits) measured() bool {
	return l.until != "" || l.hash || l.replay != ""
}

func (a *app) runCommand() *cobra.Command {
	var r runFlags
	c := &cobra.Command{
		Use:     "run [IMAGE|KERNEL|DIR] [-- CMDLINE...]",
		GroupID: "Run",
		Short:   "create a VM, boot it, and attach to its console",
		Long: `Create a VM, boot it, and attach to its console.

IMAGE is tiny, the guest that is built in (and the default), a snapshot file, or a kernel file: bzImage, ELF with a PVH note,
or multiboot, whose module is --initrd FILE[,ARGUMENTS]. DIR is a folder that godwit guest has made: its vmlinuz and
initrd.img boot with console=ttyS0. With --kernel or --bios, arguments are disks. A CPU model takes changes: --cpu max,-pcid,+spec_ctrl.

Guest time follows the wall clock where someone is there to see it: at a terminal and with -d. Otherwise, and with
--until, --state-hash and --replay, it is virtual: a function of the count alone, so that equal runs are equal.`,
		Example: `  godwit run tiny
  godwit guest debian DIR && godwit run DIR
  godwit run --kernel vmlinuz --initrd initrd.img --append console=ttyS0 -m 512M
  godwit run DIR --disk data.raw --disk golden.qcow2,overlay
  godwit run --kernel vmlinuz --initrd initrd.img root.qcow2 -- console=ttyS0 root=/dev/vda
  godwit run tiny --until '#1000000' --state-hash
  godwit run --kernel test.elf -c 2 --cpu max --testdev --debug-exit=qemu`,
		RunE: func(c *cobra.Command, args []string) error { return a.run(c, &r, args) },
	}
	r.register(c)
	f := c.Flags()
	f.StringVarP(&r.memory, "memory", "m", "512M", "memory: bytes, or with K, M or G")
	f.IntVarP(&r.cpus, "cpus", "c", 1, "vCPUs")
	f.StringVar(&r.cpu, "cpu", machine.DefaultConfig().CPU, "CPU model")
	f.StringVar(&r.kernel, "kernel", "", "kernel file")
	f.StringVar(&r.initrd, "initrd", "", "initial RAM disk")
	f.StringVar(&r.append, "append", "", "kernel command line")
	f.StringVar(&r.clock, "clock", "", "virtual or wall (default: see above)")
	f.BoolVar(&r.noReboot, "no-reboot", false, "end where the guest asks for a reset")
	f.BoolVar(&r.exitDevice, "exit-device", false, "a byte written to port 0xf4 ends the VM and is the exit code")
	f.StringVar(&r.debugExit, "debug-exit", "", "the same, or with =qemu the exit code that QEMU makes of it: value<<1 | 1")
	f.Lookup("debug-exit").NoOptDefVal = machine.DebugExitGodwit
	f.BoolVar(&r.testDev, "testdev", false, "the device of QEMU's pc-testdev, for test kernels")
	f.StringVar(&r.bios, "bios", "", "start at the reset vector of this ROM file instead of booting a kernel")
	f.StringVar(&r.debugcon, "debugcon", "", "bytes written to this port appear on the console: 0xe9, 0x402")
	f.StringArrayVar(&r.disks, "disk", nil, "FILE[,ro][,overlay][,format=raw|qcow2][,id=ID]: a disk; repeatable")
	f.BoolVar(&r.dryRun, "dry-run", false, "print the configuration and do nothing")
	c.ValidArgsFunction = cobra.FixedCompletions([]string{control.TinyName}, cobra.ShellCompDirectiveDefault)
	offer(c, "clock", machine.ClockVirtual, machine.ClockWall)
	offer(c, "cpu", machine.Models()...)
	return c
}

func (a *app) run(c *cobra.Command, r *runFlags, args []string) error {
	a.bug = r.exitDevice || r.debugExit != ""
	s, err := r.build(c, args)
	if err != nil {
		return err
	}
	if r.dryRun {
		a.json = true
		return a.print(s, nil)
	}
	return a.start(s, &r.limits)
}

// build makes a VM's specification of flags and arguments.
func (r *runFlags) build(c *cobra.Command, args []string) (*control.Spec, error) {
	s, err := r.spec()
	if err != nil {
		return nil, err
	}
	s.Kernel, s.Initrd, s.Bios = r.kernel, r.initrd, r.bios
	images := args
	if n := c.ArgsLenAtDash(); n >= 0 {
		images = args[:n]
		r.append = strings.TrimSpace(r.append + " " + strings.Join(args[n:], " "))
	}
	switch {
	case r.bios != "" && (r.kernel != "" || r.initrd != "" || slices.Contains(images, control.TinyName)):
		return nil, control.Fail("usage", "a BIOS boots by itself", "godwit does not hand it a kernel", "godwit run --bios "+r.bios)
	case r.bios != "" || r.kernel != "": // what else there is are disks
		r.disks = append(images, r.disks...)
	case len(images) > 1:
		return nil, control.Fail("usage", "one image at a time", "the kernel's command line comes after --", "godwit run tiny -- run=selftest")
	case len(images) == 1:
		s.Kernel = images[0]
	default:
		s.Kernel = control.TinyName
	}
	s.Source = s.Kernel + s.Bios
	folder, err := s.FindFolder()
	if err != nil {
		return nil, err
	}
	if folder && !strings.Contains(r.append, "console=") {
		r.append = strings.TrimSpace("console=ttyS0 " + r.append)
	}
	if err := s.FindImages(); err != nil {
		return nil, err
	}
	if err := r.config(&s.Machine); err != nil {
		return nil, err
	}
	return s, s.CheckDisks()
}

func (r *runFlags) config(m *machine.Config) error {
	args := m.ModuleArgs // from the initrd's name
	*m = machine.DefaultConfig()
	m.ModuleArgs = args
	n, err := control.ParseBytes(r.memory)
	if err != nil {
		return err
	}
	m.Memory, m.CPUs, m.CPU, m.Append = n, r.cpus, r.cpu, r.append
	m.NoReboot, m.Clock = r.noReboot, r.clock
	m.DebugExit, m.TestDev = r.debugExit, r.testDev
	if r.exitDevice && r.debugExit == "" {
		m.DebugExit = machine.DebugExitGodwit
	}
	if r.debugcon != "" {
		port, err := strconv.ParseUint(r.debugcon, 0, 16)
		if err != nil || port == 0 {
			return control.Fail("usage", fmt.Sprintf("port %q is not possible", r.debugcon), "it is a number from 1 to 0xffff", "--debugcon 0xe9")
		}
		m.Debugcon = uint16(port)
	}
	if m.Clock == "" {
		m.Clock = machine.ClockVirtual
		if !r.measured() && (r.detach || host.IsTerminal(os.Stdin)) {
			m.Clock = machine.ClockWall
		}
	}
	if m.Clock == machine.ClockWall && r.record == "" && r.replay == "" {
		m.RTCEpoch = time.Now().Unix()
	}
	for i, text := range r.disks {
		d, err := control.ParseDisk(text, i)
		if err != nil {
			return err
		}
		m.Disks = append(m.Disks, d)
	}
	if errs := m.Validate(); len(errs) > 0 {
		return control.BadConfig(errs[0])
	}
	return nil
}

// start sets a VM going, in the background or here.
func (a *app) start(s *control.Spec, l *limits) error {
	if l.detach {
		c, err := a.home.Launch(a.exe, s)
		if err != nil {
			return err
		}
		st, err := c.Status()
		if err != nil {
			return err
		}
		return a.print(st, func(w io.Writer) { fmt.Fprintln(w, st.Name) })
	}
	esc, err := control.ParseKey(l.escape)
	if err != nil {
		return err
	}
	t := a.terminal()
	c, left, err := a.home.Foreground(a.exe, s, t, control.AttachOptions{Escape: esc})
	if err != nil {
		return err
	}
	return a.leave(c, t, left, s.Hash)
}

// leave says how a stay at the console ended.
func (a *app) leave(c *control.Client, t *control.Terminal, left control.Left, hash bool) error {
	switch {
	case left.Signal != nil:
		fmt.Fprintf(a.err, "%q is still running.  godwit attach %s\n", c.Name(), c.Name())
		a.exit, a.bug = 128+host.SignalNumber(left.Signal), false
		return nil
	case left.Detached:
		fmt.Fprintf(a.err, "%q is still running.  godwit attach %s\n", c.Name(), c.Name())
		return nil
	}
	return a.ended(t, left.Status, hash)
}

// ended tells how a VM ended and takes over its exit code.
func (a *app) ended(t *control.Terminal, st control.Status, hash bool) error {
	e := st.End
	if e == nil {
		return control.Fail("bug", fmt.Sprintf("%q ended without a word", st.Name), "", "")
	}
	a.exit = e.Exit
	if a.json {
		return a.print(st, nil)
	}
	if hash && e.Hash != "" {
		fmt.Fprintf(a.out, "#%d %s\n", st.Count, e.Hash)
	}
	if st.Note != "" {
		fmt.Fprintf(a.err, "godwit: %s\n", st.Note)
	}
	if err := st.Failure(); err != nil {
		return err
	}
	if t.Interactive() || e.File != "" || e.To != "" {
		fmt.Fprintf(a.err, "%s\n", st.Epitaph())
	}
	return nil
}
