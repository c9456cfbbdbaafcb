package control

import (
	"fmt"
	"io"
	"strings"
)

// Show shows a vCPU.
func (v *CPUView) Show(w io.Writer) {
	fmt.Fprintf(w, "cpu%d  %s, ring %d, %s   #%d   %.6f s\n", v.CPU, v.Mode, v.Ring, v.Activity, v.Count, float64(v.GuestNS)/1e9)
	values(w, 4, v.GPR)
	fmt.Fprintf(w, "rip %016x  rflags %08x  %s\n", uint64(v.RIP), uint64(v.RFLAGS), v.Flags)
	fmt.Fprintf(w, "code %s\n", v.Code)
	for _, s := range v.Segments {
		fmt.Fprintf(w, "%-4s %04x  base %016x  limit %08x  attr %04x\n", s.Name, uint64(s.Sel), uint64(s.Base), uint64(s.Limit), uint64(s.Attr))
	}
	for _, part := range []struct {
		title string
		list  []Value
	}{{"control", v.Control}, {"debug", v.Debug}, {"msr", v.MSRs}, {"fpu", v.FPU}} {
		if len(part.list) > 0 {
			fmt.Fprintln(w, part.title)
			values(w, 2, part.list)
		}
	}
	for i, y := range v.Vector {
		fmt.Fprintf(w, "ymm%-2d %s\n", i, y)
	}
}

// values shows registers in columns.
func values(w io.Writer, columns int, list []Value) {
	width := 3
	for _, v := range list {
		width = max(width, len(v.Name))
	}
	for i, v := range list {
		end := "  "
		if i%columns == columns-1 || i == len(list)-1 {
			end = "\n"
		}
		fmt.Fprintf(w, "%-*s %016x%s", width, v.Name, uint64(v.Value), end)
	}
}

// Show shows memory as a hexdump.
func (v *MemView) Show(w io.Writer) {
	for i := 0; i < len(v.Data); i += 16 {
		row := v.Data[i:min(i+16, len(v.Data))]
		hex := fmt.Sprintf("% x", row)
		if len(row) > 8 {
			hex = fmt.Sprintf("% x  % x", row[:8], row[8:])
		}
		text := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, latin1(row))
		fmt.Fprintf(w, "%016x  %-48s  |%s|\n", uint64(v.Addr)+uint64(i), hex, text)
	}
	if v.Stop != "" {
		fmt.Fprintln(w, v.Stop)
	}
}

func latin1(b []byte) string {
	r := make([]rune, len(b))
	for i, c := range b {
		r[i] = rune(c)
	}
	return string(r)
}

// Show shows a page walk, one table a line.
func (v *WalkView) Show(w io.Writer) {
	for i, l := range v.Levels {
		fmt.Fprintf(w, "%s%-9s 0x%016x  %s", strings.Repeat(" ", i), fmt.Sprintf("%s[%d]", l.Name, l.Index), uint64(l.Entry), l.Bits)
		if i == 0 {
			fmt.Fprintf(w, "   cr3=%s", v.CR3)
		}
		fmt.Fprintln(w)
	}
	if !v.OK {
		fmt.Fprintf(w, "%s→ no translation: %s\n", strings.Repeat(" ", len(v.Levels)), v.Fault)
		return
	}
	if v.Size == 0 {
		fmt.Fprintf(w, "→ physical %s, paging is off\n", v.Phys)
		return
	}
	fmt.Fprintf(w, "%s→ physical %s, %s page, %s, %s, %s\n", strings.Repeat(" ", len(v.Levels)), v.Phys, SizeText(v.Size),
		pick(v.Write, "writable", "read-only"), pick(v.User, "user", "kernel"), pick(v.NX, "no-execute", "executable"))
}

// SizeText is bytesText in full: "2 MiB".
func SizeText(n uint64) string {
	t := bytesText(n)
	if u := t[len(t)-1]; u > '9' {
		return t[:len(t)-1] + " " + t[len(t)-1:] + "iB"
	}
	return t + " bytes"
}

func pick(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// Show shows who answers where.
func (v *MapView) Show(w io.Writer) {
	space := ""
	for _, r := range v.Ranges {
		if r.Space != space {
			space = r.Space
			fmt.Fprintln(w, space)
		}
		digits := 16
		if space == "ports" {
			digits = 4
		}
		fmt.Fprintf(w, "  %0*x-%0*x  %s\n", digits, uint64(r.First), digits, uint64(r.Last), r.What)
	}
}

// Show shows the way of interrupts.
func (v *IRQView) Show(w io.Writer) {
	for _, l := range v.Lines {
		fmt.Fprintf(w, "irq %-2d  %s", l.IRQ, pick(l.Level, "high", "low"))
		if l.Sources > 1 {
			fmt.Fprintf(w, "  (%d sources)", l.Sources)
		}
		fmt.Fprintln(w)
	}
	for i := range v.Registers {
		v.Registers[i].Show(w)
	}
	fmt.Fprintln(w, "due")
	for _, d := range v.Deadlines {
		fmt.Fprintf(w, "  %.9f s  %s event %d\n", float64(d.GuestNS)/1e9, d.Device, d.Event)
	}
}

// Show shows a device's registers.
func (v *DevView) Show(w io.Writer) {
	fmt.Fprintln(w, v.ID)
	for _, r := range v.Regs {
		value := strings.Repeat("-", 2*r.Size)
		if r.Value != nil {
			value = fmt.Sprintf("%0*x", 2*r.Size, uint64(*r.Value))
		}
		fmt.Fprintf(w, "  %-7s %04x  %-18s %16s  %s  %s\n", r.Space, uint64(r.Off), r.Name, value, r.Fields(), r.Ref)
	}
}

// Fields tells the register's fields, those that are not zero with their value.
func (r *RegView) Fields() string {
	if r.Value == nil || r.Bits == "" {
		return r.Bits
	}
	var out []string
	for _, f := range strings.Split(r.Bits, "|") {
		var hi, lo uint
		where, name, ok := strings.Cut(strings.TrimSpace(f), " ")
		if n, _ := fmt.Sscanf(where, "%d:%d", &hi, &lo); !ok || n == 0 || hi > 63 {
			continue
		} else if n == 1 {
			lo = hi
		}
		v := uint64(*r.Value) >> lo & (1<<(hi-lo+1) - 1)
		switch {
		case v == 0:
		case hi == lo:
			out = append(out, name)
		default:
			out = append(out, fmt.Sprintf("%s=%x", name, v))
		}
	}
	return strings.Join(out, " ")
}

// WriteList shows VMs, one a line.
func WriteList(w io.Writer, list []Status) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "%-16s %-10s %8s  %s  %-14s %12s  %s\n", "NAME", "STATE", "MEMORY", "CPUS", "COUNT", "GUEST TIME", "FROM")
	for _, s := range list {
		from := s.Source
		if s.End != nil && s.End.Reason != "" {
			from += "  (" + s.End.Reason + ")"
		}
		if s.Reason != "" {
			from += "  (" + s.Reason + ")"
		}
		if s.Listen != "" {
			from = "listens on " + s.Listen
		}
		fmt.Fprintf(w, "%-16s %-10s %8s  %4d  %-14s %12s  %s\n", s.Name, s.State, bytesText(s.Memory), s.CPUs, fmt.Sprintf("#%d", s.Count), s.GuestTime(), from)
	}
}
