package cpu

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"godwit/cpu/isa"
)

// without are the features whose operations have no handler, and why. No model
// has any of them, so that their encodings are #UD.
var without = map[string]string{
	"avx": "later", "avx2": "later", "fma": "later", "f16c": "later", "vaes": "later", "vpclmulqdq": "later",
	"vmx": "no nested virtualisation", "svm": "no nested virtualisation", "smx": "no measured launch",
	"rtm": "no transactions", "sgx": "no enclaves", "shstk": "no control-flow enforcement", "waitpkg": "no user-level waiting",
	"mwaitx": "no user-level waiting", "ptwrite": "no tracing", "movdiri": "no direct stores", "movdir64b": "no direct stores", "cldemote": "later",
	"xsaves": "no supervisor state",
}

// undefinedOps are operations that exist to be undefined; RSM is one outside the
// system-management mode that no model has.
var undefinedOps = map[isa.Op]bool{isa.UD0: true, isa.UD1: true, isa.UD2: true, isa.RSM: true}

// TestEveryOperationHasAHandler: what a model can have, some handler executes.
func TestEveryOperationHasAHandler(t *testing.T) {
	for op := isa.Op(1); op < isa.NumOps; op++ {
		if handlers[op] != nil || undefinedOps[op] {
			continue
		}
		for i := range isa.Rows {
			if r := &isa.Rows[i]; r.Op == op {
				f := isa.Features[r.CPUID]
				if r.Attrs&isa.AttrAVX != 0 {
					f = "avx" // the VEX forms of AES
				}
				assert.NotEmpty(t, without[f], "%s (feature %q) has no handler", op, f)
			}
		}
	}
	for _, m := range Models {
		for f := range without {
			assert.False(t, m.feature(f), "model %s has %s, which nothing executes", m.Name, f)
		}
	}
}

// TestDirectStoresAreUndefined: no model has MOVDIRI and MOVDIR64B, whose rows
// the table holds for their lengths.
func TestDirectStoresAreUndefined(t *testing.T) {
	for _, m := range Models {
		for _, code := range []string{"0f38f907", "480f38f907", "660f38f807"} {
			r := newRig(t)
			r.long(0)
			r.CPU.model, r.CPU.amd = m, m.amd()
			r.R[RDI] = 0x20000
			r.put(rigCode, code)
			r.Step()
			assert.Equal(t, isr(vecUD), r.RIP, "%s on %s", code, m.Name)
		}
	}
}
