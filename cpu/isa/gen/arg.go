package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// arg is one operand: the names of its Arg and Size constants.
type arg struct {
	kind string
	size string
}

// fixedArgs are the operands without a size in their name.
var fixedArgs = map[string]arg{
	"AL": {"ArgAcc", "1"}, "AX": {"ArgAcc", "2"}, "eAX": {"ArgAcc", "SizeZ"}, "rAX": {"ArgAcc", "SizeV"},
	"CL": {"ArgCL", "1"}, "DX": {"ArgDX", "2"}, "1": {"ArgOne", "1"},
	"Sreg": {"ArgSreg", "2"}, "SregW": {"ArgSreg", "2"}, "CRn": {"ArgCR", "SizeV"}, "DRn": {"ArgDR", "SizeV"},
	"ptr": {"ArgFar", "SizeFar"}, "relz": {"ArgRel", "SizeZ"}, "rel8": {"ArgRel", "1"},
	"STi": {"ArgST", "10"}, "ST0": {"ArgST0", "10"}, "XMM0": {"ArgXmm0", "16"},
	"m": {"ArgMem", "0"}, "mfar": {"ArgMem", "SizeFar"}, "mdesc": {"ArgMem", "SizeDesc"}, "mpair": {"ArgMem", "SizePair"},
	"imm8s": {"ArgImm", "1"}, "imm8b": {"ArgImm2", "1"},
	"xmm": {"ArgXReg", "16"}, "xmmR": {"ArgXRM", "16"}, "xmmV": {"ArgXVvvv", "16"}, "xmmI": {"ArgXIs4", "16"},
	"ymm": {"ArgXReg", "32"}, "ymmR": {"ArgXRM", "32"}, "ymmV": {"ArgXVvvv", "32"}, "ymmI": {"ArgXIs4", "32"},
	"xv": {"ArgXReg", "SizeX"}, "xvR": {"ArgXRM", "SizeX"}, "xvV": {"ArgXVvvv", "SizeX"}, "xvI": {"ArgXIs4", "SizeX"},
	"mm": {"ArgMMReg", "8"}, "mmR": {"ArgMMRM", "8"}, "mxv": {"ArgMem", "SizeX"}, "xv/m": {"ArgXRM", "SizeX"},
}

var sregs = []string{"ES", "CS", "SS", "DS", "FS", "GS"}

// sizedArgs are the operands whose name ends in a size, by prefix.
var sizedArgs = map[string]string{
	"r/m": "ArgRM", "rm": "ArgRM", "r": "ArgReg", "m": "ArgMem", "imm": "ArgImm", "moffs": "ArgMoffs",
	"si": "ArgStrSI", "di": "ArgStrDI", "xmm/m": "ArgXRM", "ymm/m": "ArgXRM", "mm/m": "ArgMMRM",
}

var sizedRE = regexp.MustCompile(`^(r/m|rm|r|m|imm|moffs|si|di|xmm/m|ymm/m|mm/m)(8|16|32|64|80|128|256|v|z|y|n)(V?)$`)

func (r *row) parseArgs(s string) error {
	if s == "-" {
		return nil
	}
	words := strings.Split(s, ", ")
	if len(words) > len(r.args) {
		return fmt.Errorf("row has %d operands, at most %d", len(words), len(r.args))
	}
	for i, w := range words {
		a, err := r.parseArg(w)
		if err != nil {
			return err
		}
		r.args[i] = a
	}
	return r.checkArgs(words)
}

func (r *row) parseArg(w string) (arg, error) {
	if i := slices.Index(sregs, w); i >= 0 {
		r.fixed = i
		return arg{"ArgSreg", "2"}, nil
	}
	r.constrain(w)
	if a, ok := fixedArgs[w]; ok {
		return a, nil
	}
	if strings.HasPrefix(w, "vm") { // an element: 8 bytes with VEX.W
		return arg{"ArgMem", strconv.Itoa(4 * int(r.sets[fieldW]))}, nil
	}
	m := sizedRE.FindStringSubmatch(w)
	if m == nil {
		return arg{}, fmt.Errorf("operand %q is unknown", w)
	}
	a := arg{sizedArgs[m[1]], sizeName(m[2])}
	if m[2] == "n" && !slices.Contains([]string{"oszN64", "oszA"}, r.opSize()) {
		return arg{}, fmt.Errorf("operand %q needs attribute n64", w)
	}
	switch {
	case m[3] == "V":
		a.kind = "ArgVvvv"
	case a.kind == "ArgReg" && r.opreg:
		a.kind = "ArgOpReg"
	}
	return a, nil
}

// constrain narrows the ModRM fields to what the operand allows.
func (r *row) constrain(w string) {
	switch {
	case w == "Sreg":
		r.sets[fieldReg] &= 0x3f
	case w == "SregW":
		r.sets[fieldReg] &= 0x3d // MOV to CS is #UD
	case strings.Contains(w, "/m"):
	case w == "imm8" || w == "imm8s" || strings.HasPrefix(w, "imm") || strings.HasPrefix(w, "mm") && w != "mmR" || strings.HasPrefix(w, "moffs"):
	case w[0] == 'm' && w != "mmR" || strings.HasPrefix(w, "vm"):
		r.sets[fieldMod] &= 1<<0 | 1<<1 | 1<<2
	case (strings.HasPrefix(w, "rm") || strings.HasSuffix(w, "R")) && !r.has("modrr"):
		r.sets[fieldMod] &= 1 << 3
	}
	if strings.HasPrefix(w, "vm") {
		r.sets[fieldRM] &= 1 << 4 // a vector index needs a SIB byte
		r.vectorIndex = w[len(w)-1:]
	}
}

func sizeName(s string) string {
	if n, err := strconv.Atoi(s); err == nil {
		return strconv.Itoa(n / 8)
	}
	return map[string]string{"v": "SizeV", "z": "SizeZ", "y": "SizeY", "n": "SizeV"}[s]
}

// checkArgs verifies that the encoding has a place for every operand, and an
// operand for every place.
func (r *row) checkArgs(words []string) error {
	var rm, reg, imm int
	for i, a := range r.args {
		switch a.kind {
		case "ArgRM", "ArgMem", "ArgXRM", "ArgMMRM", "ArgST":
			rm++
		case "ArgReg", "ArgXReg", "ArgMMReg", "ArgCR", "ArgDR":
			reg++
		case "ArgSreg":
			if strings.HasPrefix(words[i], "Sreg") {
				reg++
			}
		case "ArgImm", "ArgRel", "ArgFar", "ArgMoffs", "ArgXIs4":
			imm++
		}
	}
	if r.imm == "imm8" && slices.Contains(words, "imm8s") {
		r.imm = "imm8s"
	}
	switch {
	case rm > 1 || reg > 1 || imm > 1 && r.imm != "immEnter" && imm > 2:
		return fmt.Errorf("two operands share one place")
	case (rm > 0 || reg > 0) && !r.modrm:
		return fmt.Errorf("operands need a ModRM byte")
	case (reg > 0) != r.regUse && r.sets[fieldReg] != 0xff || reg > 0 && !r.regUse:
		return fmt.Errorf("ModRM.reg and the operands disagree")
	case (imm > 0) != (r.imm != "none"):
		return fmt.Errorf("immediate and the operands disagree")
	}
	return nil
}
