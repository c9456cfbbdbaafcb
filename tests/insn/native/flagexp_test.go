package native

import (
	"fmt"
	"math/bits"
	"os"
	"sort"
	"testing"

	"godwit/cpu/isa"
)

// candidates for undefined flags
func TestFlagExp(t *testing.T) {
	if os.Getenv("FLAGEXP") == "" {
		t.Skip()
	}
	x, m := needExecutor(t), needMachine(t)
	var rows []uint16
	ops := map[isa.Op]bool{isa.SHL: true, isa.SHR: true, isa.SAR: true, isa.ROL: true, isa.ROR: true, isa.RCL: true, isa.RCR: true, isa.SHLD: true, isa.SHRD: true, isa.MUL: true, isa.IMUL: true, isa.DIV: true, isa.IDIV: true,
		isa.BSF: true, isa.BSR: true, isa.LZCNT: true, isa.TZCNT: true, isa.BEXTR: true, isa.BT: true, isa.BTS: true, isa.AND: true, isa.BLSI: true, isa.BLSR: true, isa.BLSMSK: true, isa.BZHI: true, isa.ANDN: true, isa.POPCNT: true,
		isa.AAA: true, isa.AAS: true, isa.AAM: true, isa.AAD: true, isa.DAA: true, isa.DAS: true}
	for _, r := range intRows(m) {
		if ops[isa.Rows[r].Op] {
			rows = append(rows, r)
		}
	}
	md := isa.Mode64
	if os.Getenv("FLAGEXP") == "32" {
		md = isa.Mode32
	}
	g := NewGen(7, rows)
	type key struct{ op, flag string }
	alive := map[key]map[string]int{}
	tot := map[key]int{}
	for k := 0; k < 40; k++ {
		var cases []*Case
		var insts []*isa.Inst
		for len(cases) < 2000 {
			if c, in := g.Next(md); Usable(c, in) && in.Row != 0 && in.Flags&isa.FlagMem == 0 {
				cases, insts = append(cases, c), append(insts, in)
			}
		}
		want, err := x.Run(cases)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range cases {
			in := insts[i]
			if want[i].Trap != 3 {
				continue
			}
			got, _, _ := m.Reference(c)
			size := in.ArgSize(0)
			w := uint(8 * size)
			mask := ^uint64(0) >> (64 - w)
			name := in.Op.String()
			cnt := uint64(0)
			a1 := in.R().Args[1]
			if in.Op == isa.SHLD || in.Op == isa.SHRD {
				a1 = in.R().Args[2]
			}
			switch in.Op {
			case isa.SHL, isa.SHR, isa.SAR, isa.ROL, isa.ROR, isa.RCL, isa.RCR, isa.SHLD, isa.SHRD:
				switch a1 {
				case isa.ArgImm:
					cnt = in.Imm
				case isa.ArgOne:
					cnt = 1
				default:
					cnt = c.R[1]
				}
				if size == 8 {
					cnt &= 63
				} else {
					cnt &= 31
				}
				switch {
				case cnt == 0:
					name += "/0"
				case cnt == 1:
					name += "/1"
				case cnt < uint64(w):
					name += "/n"
				case cnt == uint64(w):
					name += "/w"
				default:
					name += "/>w"
				}
				name += fmt.Sprint(w)
			case isa.MUL, isa.IMUL:
				name += fmt.Sprint(w)
				if in.R().Args[1] == isa.ArgNone {
					name += "one"
				}
			}
			wr := want[i].R[in.RM]
			if in.R().Args[0] == isa.ArgReg {
				wr = want[i].R[in.Reg]
			}
			src := c.R[in.RM]
			dst := c.R[in.RM]
			if in.R().Args[0] == isa.ArgReg {
				dst = c.R[in.Reg]
			}
			if in.Op == isa.MUL || in.Op == isa.IMUL && in.R().Args[1] == isa.ArgNone {
				wr = want[i].R[0]
			}
			if in.Op >= 0 && size == 1 && in.RM >= 4 && in.Flags&isa.FlagRex == 0 {
				continue
			}
			hi := want[i].R[2] & mask
			if size == 1 {
				hi = want[i].R[0] >> 8 & 0xff
			}
			wr &= mask
			pf := func(v uint64) bool { return bits.OnesCount8(uint8(v))&1 == 0 }
			for fl, bit := range map[string]uint64{"cf": 1, "pf": 4, "af": 16, "zf": 64, "sf": 128, "of": 2048} {
				v := want[i].RFLAGS&bit != 0
				cand := map[string]bool{
					"0": false, "1": true, "old": c.RFLAGS&bit != 0, "ours": got.RFLAGS&bit != 0,
					"cf": want[i].RFLAGS&1 != 0, "oldcf": c.RFLAGS&1 != 0, "!cf": want[i].RFLAGS&1 == 0,
					"res.pf": pf(wr), "res.zf": wr == 0, "res.sf": wr>>(w-1)&1 != 0,
					"src.pf": pf(src), "src.sf": src>>(w-1)&1 != 0, "src.zf": src&mask == 0,
					"hi.pf": pf(hi), "hi.zf": hi == 0, "hi.sf": hi>>(w-1)&1 != 0, "both.zf": hi == 0 && wr == 0,
					"msb^cf":        (wr>>(w-1)&1 != 0) != (want[i].RFLAGS&1 != 0),
					"msb^msb1":      (wr>>(w-1)^wr>>(w-2))&1 != 0,
					"dstmsb^resmsb": (wr>>(w-1)^dst>>(w-1))&1 != 0,
					"dstmsb":        dst>>(w-1)&1 != 0,
					"res.pf.dst":    pf(dst),
					"bit4x":         (wr^dst)>>4&1 != 0, "bit4d": dst>>4&1 != 0, "bit4r": wr>>4&1 != 0, "bit3d": dst>>3&1 != 0,
				}
				kk := key{name, fl}
				tot[kk]++
				if alive[kk] == nil {
					alive[kk] = map[string]int{}
				}
				for n, cv := range cand {
					if cv == v {
						alive[kk][n]++
					}
				}
			}
		}
	}
	var ks []key
	for k := range tot {
		ks = append(ks, k)
	}
	sort.Slice(ks, func(i, j int) bool { return ks[i].op+ks[i].flag < ks[j].op+ks[j].flag })
	for _, k := range ks {
		var full []string
		best, bn := 0, ""
		for n, v := range alive[k] {
			if v == tot[k] {
				full = append(full, n)
			}
			if v > best {
				best, bn = v, n
			}
		}
		sort.Strings(full)
		if alive[k]["ours"] == tot[k] {
			continue
		}
		fmt.Println(k.op, k.flag, tot[k], full, "ours", alive[k]["ours"], "best", bn, best)
	}
}
