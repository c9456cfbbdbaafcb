package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Opcode maps in the order of the decoder's roots.
const (
	mapOne = iota
	map0F
	map0F38
	map0F3A
	mapVex0F // the three VEX maps follow
)

var immForms = map[string]string{
	"ib": "imm8", "iw": "imm16", "iz": "immZ", "iv": "immV", "cb": "imm8s", "cz": "immZ",
	"cp": "immFar", "mo": "immMoffs", "is4": "imm8",
}

var pfxSets = map[string]uint16{"NP": 1, "66": 2, "F3": 4, "F2": 8, "NFx": 3}

var (
	hexByte = regexp.MustCompile(`^([0-9A-F]{2})(\+r|\+i|\+cc)?$`)
	digits  = regexp.MustCompile(`^/([0-7])(?:-([0-7]))?(:11)?$`)
)

// parseEnc reads the encoding column.
func (r *row) parseEnc(s string) error {
	words, err := r.parsePrefix(strings.Fields(s))
	if err != nil {
		return err
	}
	if !r.vex && len(words) > 1 && words[0] == "0F" {
		r.maps, words = map0F, words[1:]
		if len(words) > 1 && words[0] == "38" {
			r.maps, words = map0F38, words[1:]
		} else if len(words) > 1 && words[0] == "3A" {
			r.maps, words = map0F3A, words[1:]
		}
	}
	if len(words) == 0 {
		return fmt.Errorf("encoding %q has no opcode", s)
	}
	if err := r.parseOpcode(words[0]); err != nil {
		return err
	}
	for _, w := range words[1:] {
		if err := r.parseTail(w); err != nil {
			return err
		}
	}
	return nil
}

// parsePrefix consumes the words before the opcode.
func (r *row) parsePrefix(words []string) ([]string, error) {
	for len(words) > 1 {
		w := words[0]
		switch {
		case strings.HasPrefix(w, "VEX."):
			if err := r.parseVex(strings.Split(w, ".")[1:]); err != nil {
				return nil, err
			}
		case pfxSets[w] != 0 && !r.vex:
			r.sets[fieldPfx] = pfxSets[w]
			r.marked++
		case w == "W0" || w == "W1":
			r.sets[fieldW] = 1 << (w[1] - '0')
		case w == "REX.B0":
			r.sets[fieldB] = 1
			r.marked++
		default:
			return words, nil
		}
		words = words[1:]
	}
	return words, nil
}

func (r *row) parseVex(parts []string) error {
	r.vex = true
	r.sets[fieldPfx] = 1
	for _, p := range parts {
		switch p {
		case "128", "LZ":
			r.sets[fieldL] = 1
		case "256":
			r.sets[fieldL] = 2
		case "66", "F3", "F2":
			r.sets[fieldPfx] = pfxSets[p]
		case "0F":
			r.maps = mapVex0F
		case "0F38":
			r.maps = mapVex0F + 1
		case "0F3A":
			r.maps = mapVex0F + 2
		case "W0", "W1":
			r.sets[fieldW] = 1 << (p[1] - '0')
		case "NP", "LIG", "WIG", "W": // W is the operand size of general registers
		default:
			return fmt.Errorf("encoding has unknown VEX part %q", p)
		}
	}
	return nil
}

func (r *row) parseOpcode(w string) error {
	m := hexByte.FindStringSubmatch(w)
	if m == nil || m[2] == "+i" {
		return fmt.Errorf("opcode %q is malformed", w)
	}
	v, _ := strconv.ParseUint(m[1], 16, 8)
	r.first = int(v)
	switch m[2] {
	case "+r":
		r.count, r.opreg = 8, true
	case "+cc":
		r.count = 16
	}
	if r.first%r.count != 0 {
		return fmt.Errorf("opcode %q is not a multiple of %d", w, r.count)
	}
	return nil
}

// parseTail reads one word after the opcode: ModRM or an immediate.
func (r *row) parseTail(w string) error {
	if w == "/r" {
		r.modrm, r.regUse = true, true
		return nil
	}
	if m := digits.FindStringSubmatch(w); m != nil {
		r.setDigits(m[1], m[2], m[3])
		return nil
	}
	if m := hexByte.FindStringSubmatch(w); m != nil {
		v, _ := strconv.ParseUint(m[1], 16, 8)
		r.modrm = true
		r.sets[fieldMod] = 1 << (v >> 6)
		r.sets[fieldReg] = 1 << (v >> 3 & 7)
		if m[2] != "+i" {
			r.sets[fieldRM] = 1 << (v & 7)
		}
		return nil
	}
	form, ok := immForms[w]
	switch {
	case !ok:
		return fmt.Errorf("encoding has unknown part %q", w)
	case r.imm == "imm16" && w == "ib":
		form = "immEnter"
	case r.imm != "none":
		return fmt.Errorf("encoding has two immediates, the second is %q", w)
	}
	r.imm = form
	return nil
}

func (r *row) setDigits(lo, hi, reg string) {
	r.modrm = true
	if hi == "" {
		hi = lo
	}
	r.sets[fieldReg] = 0
	for d := lo[0] - '0'; d <= hi[0]-'0'; d++ {
		r.sets[fieldReg] |= 1 << d
	}
	if reg != "" {
		r.sets[fieldMod] = 1 << 3
	}
}
