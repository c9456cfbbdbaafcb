package control

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"godwit/cpu"
	"godwit/cpu/isa"
	"godwit/devices"
	"godwit/machine"
)

// Hex is a 64-bit number that JSON shows as "0x...".
type Hex uint64

// MarshalText gives the number in hexadecimal.
func (h Hex) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hex) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 0, 64)
	*h = Hex(v)
	return err
}

func (h Hex) String() string { return "0x" + strconv.FormatUint(uint64(h), 16) }

// Value is a named register.
type Value struct {
	Name  string `json:"name"`
	Value Hex    `json:"value"`
}

// SegView is a segment register.
type SegView struct {
	Name  string `json:"name"`
	Sel   Hex    `json:"sel"`
	Base  Hex    `json:"base"`
	Limit Hex    `json:"limit"`
	Attr  Hex    `json:"attr"`
}

// CPUView is a vCPU. Control and what follows it only come with regs.
type CPUView struct {
	CPU      int       `json:"cpu"`
	Count    uint64    `json:"count"`
	GuestNS  int64     `json:"guest_ns"`
	Mode     string    `json:"mode"`
	Ring     uint8     `json:"ring"`
	Activity string    `json:"activity"`
	RIP      Hex       `json:"rip"`
	RFLAGS   Hex       `json:"rflags"`
	Flags    string    `json:"flags"` // names of those set
	Code     string    `json:"code"`  // bytes at CS:RIP
	GPR      []Value   `json:"gpr"`
	Segments []SegView `json:"segments"`
	Control  []Value   `json:"control,omitempty"`
	Debug    []Value   `json:"debug,omitempty"`
	MSRs     []Value   `json:"msrs,omitempty"`
	FPU      []Value   `json:"fpu,omitempty"`
	Vector   []string  `json:"vector,omitempty"` // YMM registers, 32 bytes each, highest first
}

var (
	gprNames  = [...]string{"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"}
	segNames  = [...]string{isa.ES: "es", isa.CS: "cs", isa.SS: "ss", isa.DS: "ds", isa.FS: "fs", isa.GS: "gs"}
	flagNames = [...]string{0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF", 14: "NT", 16: "RF", 17: "VM", 18: "AC", 19: "VIF", 20: "VIP", 21: "ID"}
	actNames  = [...]string{cpu.Running: "running", cpu.Halted: "halted", cpu.WaitSIPI: "waiting for SIPI", cpu.Shutdown: "shutdown"}
)

func setFlags(v uint64) string {
	var on []string
	for i, n := range flagNames {
		if n != "" && v>>i&1 != 0 {
			on = append(on, n)
		}
	}
	return strings.Join(on, " ")
}

// mode names the processor's mode [SDM 3A 2.2].
func mode(a *cpu.Arch) string {
	const cr0PE, flagVM, attrL, attrDB, lma = 1, 1 << 17, 1 << 13, 1 << 14, 1 << 10
	cs := a.Seg[isa.CS].Attr
	switch {
	case a.CR0&cr0PE == 0:
		return "real mode"
	case a.RFLAGS&flagVM != 0:
		return "virtual 8086 mode"
	case a.EFER&lma != 0 && cs&attrL != 0:
		return "long mode"
	case a.EFER&lma != 0:
		return "compatibility mode"
	case cs&attrDB != 0:
		return "32-bit protected mode"
	}
	return "16-bit protected mode"
}

// viewCPU reads vCPU i.
func viewCPU(m *machine.Machine, i int, all bool) CPUView {
	c := m.CPUs()[i]
	c.Canonical()
	a := &c.Arch
	v := CPUView{
		CPU: i, Count: m.Count(), GuestNS: int64(m.Now()), Mode: mode(a), Ring: a.CPL, Activity: actNames[a.Activity&3],
		RIP: Hex(a.RIP), RFLAGS: Hex(a.RFLAGS), Flags: setFlags(a.RFLAGS),
	}
	for k, n := range gprNames {
		v.GPR = append(v.GPR, Value{n, Hex(a.R[k])})
	}
	for k, n := range segNames {
		v.Segments = append(v.Segments, segView(n, &a.Seg[k]))
	}
	v.Segments = append(v.Segments, segView("ldtr", &a.LDTR), segView("tr", &a.TR))
	la := a.RIP
	if v.Mode != "long mode" {
		la = (a.Seg[isa.CS].Base + a.RIP) & 0xffffffff
	}
	code := make([]byte, 15)
	v.Code = fmt.Sprintf("% x", code[:m.ReadLinear(i, la, code)])
	if all {
		v.system(a)
	}
	return v
}

func segView(n string, s *cpu.Segment) SegView {
	return SegView{n, Hex(s.Sel), Hex(s.Base), Hex(s.Limit), Hex(s.Attr)}
}

// system adds what regs shows beyond cpu.
func (v *CPUView) system(a *cpu.Arch) {
	v.Control = []Value{
		{"cr0", Hex(a.CR0)},
		{"cr2", Hex(a.CR2)},
		{"cr3", Hex(a.CR3)},
		{"cr4", Hex(a.CR4)},
		{"xcr0", Hex(a.XCR0)},
		{"efer", Hex(a.EFER)},
		{"gdtr.base", Hex(a.GDTR.Base)},
		{"gdtr.limit", Hex(a.GDTR.Limit)},
		{"idtr.base", Hex(a.IDTR.Base)},
		{"idtr.limit", Hex(a.IDTR.Limit)},
		{"pkru", Hex(a.PKRU)},
	}
	for _, i := range [...]int{0, 1, 2, 3, 6, 7} {
		v.Debug = append(v.Debug, Value{fmt.Sprintf("dr%d", i), Hex(a.DR[i])})
	}
	v.MSRs = []Value{
		{"star", Hex(a.STAR)},
		{"lstar", Hex(a.LSTAR)},
		{"cstar", Hex(a.CSTAR)},
		{"fmask", Hex(a.FMASK)},
		{"kernel_gs_base", Hex(a.KernelGSBase)},
		{"sysenter_cs", Hex(a.SysenterCS)},
		{"sysenter_esp", Hex(a.SysenterESP)},
		{"sysenter_eip", Hex(a.SysenterEIP)},
		{"pat", Hex(a.PAT)},
		{"tsc_aux", Hex(a.TSCAux)},
		{"tsc_adjust", Hex(a.TSCAdjust)},
	}
	v.FPU = []Value{{"fcw", Hex(a.FCW)}, {"fsw", Hex(a.FSW)}, {"ftw", Hex(a.FTW)}, {"mxcsr", Hex(a.MXCSR)}}
	for i, st := range a.ST {
		v.FPU = append(v.FPU, Value{fmt.Sprintf("r%d.se", i), Hex(st.SE)}, Value{fmt.Sprintf("r%d.mant", i), Hex(st.Mant)})
	}
	for _, y := range a.V {
		v.Vector = append(v.Vector, fmt.Sprintf("%016x_%016x_%016x_%016x", y[3], y[2], y[1], y[0]))
	}
}

// MemView is a piece of memory.
type MemView struct {
	Addr Hex    `json:"addr"`
	Phys bool   `json:"phys"`
	Data []byte `json:"data"`           // base64
	Want int    `json:"want"`           // bytes asked for
	Stop string `json:"stop,omitempty"` // why there are fewer
}

// maxInspect bounds one look at memory, in bytes.
const maxInspect = 1 << 20

func viewMem(m *machine.Machine, i int, addr uint64, n int, phys bool) MemView {
	v := MemView{Addr: Hex(addr), Phys: phys, Want: n, Data: make([]byte, n)}
	if phys {
		v.Data = v.Data[:m.ReadPhys(addr, v.Data)]
		if len(v.Data) < n {
			v.Stop = fmt.Sprintf("there is no memory at physical address %s", Hex(addr+uint64(len(v.Data))))
		}
		return v
	}
	v.Data = v.Data[:m.ReadLinear(i, addr, v.Data)]
	if len(v.Data) < n {
		at := addr + uint64(len(v.Data))
		if w := m.Walk(i, at); w.OK {
			v.Stop = fmt.Sprintf("%s is physical address %s, where there is no memory", Hex(at), Hex(w.Phys))
		} else {
			v.Stop = fmt.Sprintf("%s is not mapped: %s", Hex(at), w.Fault)
		}
	}
	return v
}

// WalkView is a page walk.
type WalkView struct {
	Addr   Hex         `json:"addr"`
	CR3    Hex         `json:"cr3"`
	Levels []LevelView `json:"levels"`
	OK     bool        `json:"ok"`
	Phys   Hex         `json:"phys"`
	Size   uint64      `json:"size"` // bytes of the page; 0: paging is off
	Write  bool        `json:"write"`
	User   bool        `json:"user"`
	NX     bool        `json:"nx"`
	Fault  string      `json:"fault,omitempty"`
}

// LevelView is one entry met on the way.
type LevelView struct {
	Name  string `json:"name"`
	Index uint64 `json:"index"`
	At    Hex    `json:"at"` // physical address of the entry
	Entry Hex    `json:"entry"`
	Bits  string `json:"bits"`
}

func viewWalk(m *machine.Machine, i int, la uint64) WalkView {
	w := m.Walk(i, la)
	v := WalkView{
		Addr: Hex(la), CR3: Hex(m.CPUs()[i].CR3), OK: w.OK, Phys: Hex(w.Phys), Size: w.Size,
		Write: w.Write, User: w.User, NX: w.NX, Fault: w.Fault,
	}
	for k, l := range w.Levels {
		leaf := w.OK && k == len(w.Levels)-1
		v.Levels = append(v.Levels, LevelView{l.Name, l.Index, Hex(l.Addr), Hex(l.Entry), entryBits(l, leaf, w.Size)})
	}
	return v
}

// entryBits names the bits set in a page-table entry [SDM 3A 4.5].
func entryBits(l machine.Level, leaf bool, size uint64) string {
	var on []string
	for _, b := range []struct {
		bit  uint
		name string
		leaf bool
	}{{0, "P", false}, {1, "W", false}, {2, "U", false}, {3, "PWT", false}, {4, "PCD", false}, {5, "A", false}, {6, "D", true}, {8, "G", true}} {
		if l.Entry>>b.bit&1 != 0 && (leaf || !b.leaf) {
			on = append(on, b.name)
		}
	}
	if leaf && size > 4096 {
		on = append(on, "PS="+bytesText(size))
	}
	if l.Wide && l.Entry>>63 != 0 {
		on = append(on, "NX")
	}
	return strings.Join(on, " ")
}

// bytesText is a size as people say it.
func bytesText(n uint64) string {
	for i, u := range []string{"T", "G", "M", "K"} {
		if s := uint(40 - 10*i); n >= 1<<s && n%(1<<s) == 0 {
			return fmt.Sprintf("%d%s", n>>s, u)
		}
	}
	return fmt.Sprint(n)
}

// RangeView is one piece of the address space.
type RangeView struct {
	Space string `json:"space"` // "memory" or "ports"
	First Hex    `json:"first"`
	Last  Hex    `json:"last"`
	What  string `json:"what"`
}

// MapView tells who answers where.
type MapView struct {
	Ranges []RangeView `json:"ranges"`
}

func viewMap(m *machine.Machine) MapView {
	var v MapView
	for _, r := range m.Map() {
		space := "memory"
		if r.IO {
			space = "ports"
		}
		v.Ranges = append(v.Ranges, RangeView{space, Hex(r.Base), Hex(r.Base + r.Size - 1), r.What})
	}
	return v
}

// IRQView is the way of interrupts: lines, controllers' registers, deadlines.
type IRQView struct {
	Lines     []LineView     `json:"lines"`
	Registers []DevView      `json:"registers"`
	Deadlines []DeadlineView `json:"deadlines"`
}

// LineView is one interrupt request.
type LineView struct {
	IRQ     int  `json:"irq"`
	Sources int  `json:"sources"`
	Level   bool `json:"level"`
}

// DeadlineView is one entry of the event queue.
type DeadlineView struct {
	GuestNS int64  `json:"guest_ns"`
	Device  string `json:"device"`
	Event   uint8  `json:"event"`
}

// irqRegs are the registers that matter for interrupts, by the start of their
// names.
var irqRegs = []string{"IRR", "ISR", "IMR", "ELCR", "IOREDTBL", "TPR", "PPR", "SVR", "LVT", "ICR"}

func viewIRQ(m *machine.Machine) IRQView {
	var v IRQView
	for _, l := range m.IRQs() {
		v.Lines = append(v.Lines, LineView{l.GSI, l.Sources, l.High != 0})
	}
	for _, d := range m.Devices() {
		dv := viewDev(m, d)
		keep := dv.Regs[:0]
		for _, r := range dv.Regs {
			for _, p := range irqRegs {
				if strings.HasPrefix(r.Name, p) {
					keep = append(keep, r)
					break
				}
			}
		}
		id := strings.TrimRight(d.ID(), "0123456789")
		if dv.Regs = keep; len(keep) > 0 && (id == "pic" || id == "ioapic" || id == "lapic") {
			v.Registers = append(v.Registers, dv)
		}
	}
	for _, d := range m.Deadlines() {
		v.Deadlines = append(v.Deadlines, DeadlineView{int64(d.At), d.Device, uint8(d.Event)})
	}
	return v
}

// DevView is a device with its registers.
type DevView struct {
	ID   string    `json:"id"`
	Regs []RegView `json:"regs"`
}

// RegView is one register. Value is nil for one that can only be written.
type RegView struct {
	Space string `json:"space"`
	Off   Hex    `json:"off"`
	Size  int    `json:"size"`
	Name  string `json:"name"`
	Value *Hex   `json:"value"`
	Bits  string `json:"bits"`
	Ref   string `json:"ref"`
}

func viewDev(m *machine.Machine, d devices.Device) DevView {
	v := DevView{ID: d.ID()}
	for i, r := range d.Regs() {
		rv := RegView{Space: r.Space, Off: Hex(r.Off), Size: r.Size, Name: r.Name, Bits: r.Bits, Ref: r.Ref}
		if x, ok := m.RegValue(d, i); ok {
			h := Hex(x)
			rv.Value = &h
		}
		v.Regs = append(v.Regs, rv)
	}
	return v
}

// look reads something of the machine and answers with it.
func (s *Server) look(w http.ResponseWriter, q *http.Request, f func(m *machine.Machine) (any, error)) error {
	var v any
	if err := s.r.Do(q.Context(), func() (err error) { v, err = f(s.r.m); return err }); err != nil {
		return err
	}
	return answer(w, v)
}

// number reads a parameter; absent it is def.
func number(q *http.Request, name string, def uint64) (uint64, error) {
	t := q.URL.Query().Get(name)
	if t == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(t, 0, 64)
	if err != nil {
		return 0, Fail("usage", fmt.Sprintf("%s is %q", name, t), "it is no number of 64 bits", "0x1000")
	}
	return n, nil
}

// vcpu reads the cpu parameter.
func vcpu(q *http.Request, m *machine.Machine) (int, error) {
	n, err := number(q, "cpu", 0)
	if err == nil && n >= uint64(len(m.CPUs())) {
		err = Fail("not-found", fmt.Sprintf("there is no vcpu %d", n), fmt.Sprintf("the machine has %d, from 0", len(m.CPUs())), "--cpu 0")
	}
	return int(n), err
}

func (s *Server) inspectCPU(w http.ResponseWriter, q *http.Request) error {
	return s.look(w, q, func(m *machine.Machine) (any, error) {
		i, err := vcpu(q, m)
		if err != nil {
			return nil, err
		}
		return viewCPU(m, i, false), nil
	})
}

func (s *Server) inspectRegs(w http.ResponseWriter, q *http.Request) error {
	return s.look(w, q, func(m *machine.Machine) (any, error) {
		i, err := vcpu(q, m)
		if err != nil {
			return nil, err
		}
		return viewCPU(m, i, true), nil
	})
}

func (s *Server) inspectMem(w http.ResponseWriter, q *http.Request) error {
	addr, err := number(q, "addr", 0)
	if err != nil {
		return err
	}
	n, err := number(q, "len", 128)
	if err != nil {
		return err
	}
	if n == 0 || n > maxInspect {
		return Fail("usage", fmt.Sprintf("cannot show %d bytes", n), fmt.Sprintf("it is 1 to %d at a time", maxInspect), "a smaller LEN")
	}
	return s.look(w, q, func(m *machine.Machine) (any, error) {
		i, err := vcpu(q, m)
		if err != nil {
			return nil, err
		}
		return viewMem(m, i, addr, int(n), q.URL.Query().Get("phys") != ""), nil
	})
}

func (s *Server) inspectPT(w http.ResponseWriter, q *http.Request) error {
	addr, err := number(q, "addr", 0)
	if err != nil {
		return err
	}
	return s.look(w, q, func(m *machine.Machine) (any, error) {
		i, err := vcpu(q, m)
		if err != nil {
			return nil, err
		}
		return viewWalk(m, i, addr), nil
	})
}

func (s *Server) inspectMap(w http.ResponseWriter, q *http.Request) error {
	return s.look(w, q, func(m *machine.Machine) (any, error) { return viewMap(m), nil })
}

func (s *Server) inspectIRQ(w http.ResponseWriter, q *http.Request) error {
	return s.look(w, q, func(m *machine.Machine) (any, error) { return viewIRQ(m), nil })
}

func (s *Server) inspectDev(w http.ResponseWriter, q *http.Request) error {
	id := q.URL.Query().Get("id")
	return s.look(w, q, func(m *machine.Machine) (any, error) {
		out, names := []DevView{}, []string{}
		for _, d := range m.Devices() {
			names = append(names, d.ID())
			if id == "" || d.ID() == id {
				out = append(out, viewDev(m, d))
			}
		}
		if len(out) == 0 {
			return nil, Fail("not-found", fmt.Sprintf("there is no device %q", id), "there are "+strings.Join(names, ", "), "godwit inspect dev "+Nearest(id, names))
		}
		return out, nil
	})
}

// HashView is a state hash and where it was taken.
type HashView struct {
	Count uint64 `json:"count"`
	Hash  string `json:"hash"`
}

func (s *Server) hash(w http.ResponseWriter, q *http.Request) error {
	return s.look(w, q, func(m *machine.Machine) (any, error) {
		h, err := m.Hash()
		return HashView{m.Count(), fmt.Sprintf("%x", h)}, err
	})
}
