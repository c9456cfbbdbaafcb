package cpu

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"godwit/cpu/isa"
)

// Model is a named processor: a vendor and a list of features. It depends on
// nothing of the host.
type Model struct {
	Name   string
	Vendor string // CPUID's twelve characters
	Brand  string // CPUID's brand string

	family, model, stepping uint32
	list                    string // features by their names in /proc/cpuinfo

	has   [256]bool       // by isa.Row.CPUID
	on    map[string]bool // by name; never ranged over
	words map[cpuidReg]uint32
	no1G  bool
	// wideFar: far pointers with REX.W have 64-bit offsets, which Intel's
	// processors know. max has it beside AMD's system calls: it is no processor
	// that exists, and can do what either vendor's can.
	wideFar bool
	cr4     uint64 // bits that may be set
	efer    uint64
	xcr0    uint64
}

// cpuidReg names one register of one CPUID leaf.
type cpuidReg struct {
	leaf, sub uint32
	reg       uint8
}

// CPUID result registers.
const (
	eax = iota
	ebx
	ecx
	edx
)

// feature is one CPUID bit.
type feature struct {
	name string
	cpuidReg
	bit uint8
	cr4 uint64 // CR4 bits that come with it
}

// features maps names, as in Linux's /proc/cpuinfo, to CPUID bits
// [SDM 2 CPUID, APM 3 appendix E].
var features = []feature{
	{"fpu", cpuidReg{1, 0, edx}, 0, 0},
	{"vme", cpuidReg{1, 0, edx}, 1, cr4VME | cr4PVI},
	{"de", cpuidReg{1, 0, edx}, 2, cr4DE},
	{"pse", cpuidReg{1, 0, edx}, 3, cr4PSE},
	{"tsc", cpuidReg{1, 0, edx}, 4, cr4TSD},
	{"msr", cpuidReg{1, 0, edx}, 5, 0},
	{"pae", cpuidReg{1, 0, edx}, 6, cr4PAE},
	{"mce", cpuidReg{1, 0, edx}, 7, cr4MCE},
	{"cx8", cpuidReg{1, 0, edx}, 8, 0},
	{"apic", cpuidReg{1, 0, edx}, 9, 0},
	{"sep", cpuidReg{1, 0, edx}, 11, 0},
	{"mtrr", cpuidReg{1, 0, edx}, 12, 0},
	{"pge", cpuidReg{1, 0, edx}, 13, cr4PGE},
	{"mca", cpuidReg{1, 0, edx}, 14, 0},
	{"cmov", cpuidReg{1, 0, edx}, 15, 0},
	{"pat", cpuidReg{1, 0, edx}, 16, 0},
	{"pse36", cpuidReg{1, 0, edx}, 17, 0},
	{"clflush", cpuidReg{1, 0, edx}, 19, 0},
	{"mmx", cpuidReg{1, 0, edx}, 23, 0},
	{"fxsr", cpuidReg{1, 0, edx}, 24, cr4OSFXSR},
	{"sse", cpuidReg{1, 0, edx}, 25, cr4OSXMMEXCPT},
	{"sse2", cpuidReg{1, 0, edx}, 26, 0},
	{"ht", cpuidReg{1, 0, edx}, 28, 0},

	{"sse3", cpuidReg{1, 0, ecx}, 0, 0},
	{"pclmulqdq", cpuidReg{1, 0, ecx}, 1, 0},
	{"monitor", cpuidReg{1, 0, ecx}, 3, 0},
	{"ssse3", cpuidReg{1, 0, ecx}, 9, 0},
	{"fma", cpuidReg{1, 0, ecx}, 12, 0},
	{"cx16", cpuidReg{1, 0, ecx}, 13, 0},
	{"pcid", cpuidReg{1, 0, ecx}, 17, cr4PCIDE},
	{"sse4_1", cpuidReg{1, 0, ecx}, 19, 0},
	{"sse4_2", cpuidReg{1, 0, ecx}, 20, 0},
	{"x2apic", cpuidReg{1, 0, ecx}, 21, 0},
	{"movbe", cpuidReg{1, 0, ecx}, 22, 0},
	{"popcnt", cpuidReg{1, 0, ecx}, 23, 0},
	{"tsc_deadline_timer", cpuidReg{1, 0, ecx}, 24, 0},
	{"aes", cpuidReg{1, 0, ecx}, 25, 0},
	{"xsave", cpuidReg{1, 0, ecx}, 26, cr4OSXSAVE},
	{"avx", cpuidReg{1, 0, ecx}, 28, 0},
	{"f16c", cpuidReg{1, 0, ecx}, 29, 0},
	{"rdrand", cpuidReg{1, 0, ecx}, 30, 0},
	{"hypervisor", cpuidReg{1, 0, ecx}, 31, 0},

	{"arat", cpuidReg{6, 0, eax}, 2, 0},

	{"fsgsbase", cpuidReg{7, 0, ebx}, 0, cr4FSGSBASE},
	{"tsc_adjust", cpuidReg{7, 0, ebx}, 1, 0},
	{"bmi1", cpuidReg{7, 0, ebx}, 3, 0},
	{"avx2", cpuidReg{7, 0, ebx}, 5, 0},
	{"fdp_excptn_only", cpuidReg{7, 0, ebx}, 6, 0},
	{"smep", cpuidReg{7, 0, ebx}, 7, cr4SMEP},
	{"bmi2", cpuidReg{7, 0, ebx}, 8, 0},
	{"erms", cpuidReg{7, 0, ebx}, 9, 0},
	{"invpcid", cpuidReg{7, 0, ebx}, 10, 0},
	{"zero_fcs_fds", cpuidReg{7, 0, ebx}, 13, 0},
	{"rdseed", cpuidReg{7, 0, ebx}, 18, 0},
	{"adx", cpuidReg{7, 0, ebx}, 19, 0},
	{"smap", cpuidReg{7, 0, ebx}, 20, cr4SMAP},
	{"clflushopt", cpuidReg{7, 0, ebx}, 23, 0},
	{"clwb", cpuidReg{7, 0, ebx}, 24, 0},
	{"sha_ni", cpuidReg{7, 0, ebx}, 29, 0},
	{"umip", cpuidReg{7, 0, ecx}, 2, cr4UMIP},
	{"pku", cpuidReg{7, 0, ecx}, 3, cr4PKE},
	{"vaes", cpuidReg{7, 0, ecx}, 9, 0},
	{"vpclmulqdq", cpuidReg{7, 0, ecx}, 10, 0},
	{"la57", cpuidReg{7, 0, ecx}, 16, cr4LA57},
	{"rdpid", cpuidReg{7, 0, ecx}, 22, 0},
	{"pks", cpuidReg{7, 0, ecx}, 31, cr4PKS},
	{"movdiri", cpuidReg{7, 0, ecx}, 27, 0},
	{"movdir64b", cpuidReg{7, 0, ecx}, 28, 0},
	{"fsrm", cpuidReg{7, 0, edx}, 4, 0},
	{"serialize", cpuidReg{7, 0, edx}, 14, 0},
	{"spec_ctrl", cpuidReg{7, 0, edx}, 26, 0},
	{"arch_capabilities", cpuidReg{7, 0, edx}, 29, 0},

	{"bhi_ctrl", cpuidReg{7, 2, edx}, 4, 0},

	{"xsaveopt", cpuidReg{0xd, 1, eax}, 0, 0},
	{"xsavec", cpuidReg{0xd, 1, eax}, 1, 0},
	{"xgetbv1", cpuidReg{0xd, 1, eax}, 2, 0},
	{"xsaves", cpuidReg{0xd, 1, eax}, 3, 0},

	{"syscall", cpuidReg{0x80000001, 0, edx}, 11, 0},
	{"nx", cpuidReg{0x80000001, 0, edx}, 20, 0},
	{"pdpe1gb", cpuidReg{0x80000001, 0, edx}, 26, 0},
	{"rdtscp", cpuidReg{0x80000001, 0, edx}, 27, 0},
	{"lm", cpuidReg{0x80000001, 0, edx}, 29, 0},
	{"lahf_lm", cpuidReg{0x80000001, 0, ecx}, 0, 0},
	{"cmp_legacy", cpuidReg{0x80000001, 0, ecx}, 1, 0},
	{"cr8_legacy", cpuidReg{0x80000001, 0, ecx}, 4, 0},
	{"lzcnt", cpuidReg{0x80000001, 0, ecx}, 5, 0},
	{"3dnowprefetch", cpuidReg{0x80000001, 0, ecx}, 8, 0},
	{"topoext", cpuidReg{0x80000001, 0, ecx}, 22, 0},

	{"constant_tsc", cpuidReg{0x80000007, 0, edx}, 8, 0},

	{"clzero", cpuidReg{0x80000008, 0, ebx}, 0, 0},
	{"wbnoinvd", cpuidReg{0x80000008, 0, ebx}, 9, 0},
	{"amd_ibpb", cpuidReg{0x80000008, 0, ebx}, 12, 0},
	{"amd_ibrs", cpuidReg{0x80000008, 0, ebx}, 14, 0},
	{"amd_ssb_no", cpuidReg{0x80000008, 0, ebx}, 26, 0},
	{"btc_no", cpuidReg{0x80000008, 0, ebx}, 29, 0},

	{"no_nested_data_bp", cpuidReg{0x80000021, 0, eax}, 0, 0},
	{"lfence_rdtsc", cpuidReg{0x80000021, 0, eax}, 2, 0},
	{"null_sel_clr_base", cpuidReg{0x80000021, 0, eax}, 6, 0},
	{"autoibrs", cpuidReg{0x80000021, 0, eax}, 8, 0},
	{"srso_no", cpuidReg{0x80000021, 0, eax}, 29, 0},
	{"tsa_sq_no", cpuidReg{0x80000021, 0, ecx}, 1, 0},
	{"tsa_l1_no", cpuidReg{0x80000021, 0, ecx}, 2, 0},
}

// The features of x86-64-v2 and of a PC around it. Immunity to speculation
// flaws is part of it: else the guest pays for page-table isolation and
// retpolines that protect nothing here.
const (
	baseFeatures = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht " +
		"syscall nx pdpe1gb rdtscp lm lahf_lm constant_tsc arat hypervisor " +
		"sse3 ssse3 cx16 sse4_1 sse4_2 popcnt x2apic tsc_deadline_timer xsave xsaveopt xsavec xgetbv1 rdrand rdseed " +
		"fsgsbase tsc_adjust smep smap umip pku ospke pcid invpcid clflushopt clwb rdpid serialize erms fsrm lzcnt movbe arch_capabilities "
	amdFeatures = "cmp_legacy cr8_legacy 3dnowprefetch topoext wbnoinvd amd_ibpb amd_ibrs amd_ssb_no btc_no " +
		"no_nested_data_bp lfence_rdtsc null_sel_clr_base autoibrs srso_no tsa_sq_no tsa_l1_no"
	// bhi_ctrl: Linux 6.1 takes Intel's processors under a hypervisor for prone to
	// branch history injection, whatever ARCH_CAPABILITIES says, and clears the
	// history by a loop at every system call, unless a bit of SPEC_CTRL does it.
	intelFeatures = "spec_ctrl bhi_ctrl fdp_excptn_only zero_fcs_fds"
	// moreFeatures are what is implemented beyond x86-64-v2.
	moreFeatures = " aes pclmulqdq sha_ni bmi1 bmi2 adx la57 pks monitor"
)

// DefaultModel is the name of the model that a machine gets unasked.
const DefaultModel = "x86-64-v2"

// Models are all that there are, the default first.
var Models = []*Model{
	{
		Name: DefaultModel, Vendor: "AuthenticAMD", Brand: "godwit virtual CPU",
		family: 0x19, model: 1, stepping: 1, list: baseFeatures + amdFeatures,
	},
	{
		Name: "x86-64-v2-intel", Vendor: "GenuineIntel", Brand: "godwit virtual CPU",
		family: 6, model: 0x8f, stepping: 8, list: baseFeatures + intelFeatures,
	},
	{
		Name: "max", Vendor: "AuthenticAMD", Brand: "godwit virtual CPU",
		family: 0x19, model: 1, stepping: 1, list: baseFeatures + amdFeatures + moreFeatures,
		wideFar: true,
	},
}

func init() {
	for _, m := range Models {
		m.resolve()
	}
}

// LookupModel finds a model by name; "" is the default. Changes may follow the
// name: "max,-pcid,+spec_ctrl".
func LookupModel(name string) (*Model, error) {
	name, changes, changed := strings.Cut(name, ",")
	if name == "" {
		name = DefaultModel
	}
	names := make([]string, 0, len(Models))
	for _, m := range Models {
		if m.Name == name {
			if changed {
				return m.with(changes)
			}
			return m, nil
		}
		names = append(names, m.Name)
	}
	sort.Strings(names)
	return nil, fmt.Errorf("cpu model %q: unknown; there are %s", name, strings.Join(names, ", "))
}

// with is a model of its own with some features more or less.
func (m *Model) with(changes string) (*Model, error) {
	v := &Model{Name: m.Name + "," + changes, Vendor: m.Vendor, Brand: m.Brand, family: m.family, model: m.model, stepping: m.stepping, wideFar: m.wideFar}
	list := strings.Fields(m.list)
	for _, c := range strings.Split(changes, ",") {
		sign, f := c[:min(1, len(c))], c[min(1, len(c)):]
		if sign != "+" && sign != "-" {
			return nil, fmt.Errorf("cpu feature %q: needs + or - before its name", c)
		}
		if !implemented(f) {
			return nil, fmt.Errorf("cpu feature %q: not implemented", f)
		}
		list = slices.DeleteFunc(list, func(have string) bool { return have == f })
		if sign == "+" {
			list = append(list, f)
		}
	}
	v.list = strings.Join(list, " ")
	v.resolve()
	return v, nil
}

// implemented tells whether any model has the feature.
func implemented(f string) bool {
	for _, m := range Models {
		if m.on[f] {
			return true
		}
	}
	return false
}

// Features lists the model's features by name, sorted.
func (m *Model) Features() []string {
	f := strings.Fields(m.list)
	sort.Strings(f)
	return f
}

func (m *Model) amd() bool { return m.Vendor == "AuthenticAMD" }

func (m *Model) feature(name string) bool { return m.on[name] }

// resolve derives everything from the list of features.
func (m *Model) resolve() {
	m.on, m.words = map[string]bool{}, map[cpuidReg]uint32{}
	for _, name := range strings.Fields(m.list) {
		m.on[name] = true
	}
	for i, name := range isa.Features {
		m.has[i] = m.on[name]
	}
	m.cr4 = cr4PCE
	for i := range features {
		if f := &features[i]; m.on[f.name] {
			m.words[f.cpuidReg] |= 1 << f.bit
			m.cr4 |= f.cr4
		}
	}
	m.no1G = !m.on["pdpe1gb"]
	m.efer = eferSCE | eferLME
	if m.on["nx"] {
		m.efer |= eferNXE
	}
	if m.on["autoibrs"] {
		m.efer |= eferAIBRS
	}
	m.xcr0 = xX87 | xSSE
	if m.on["avx"] {
		m.xcr0 |= xAVX
	}
	if m.on["pku"] {
		m.xcr0 |= xPKRU
	}
}

// eferAIBRS is Automatic IBRS: kernels that see it need no retpolines
// [APM 2 3.1.7].
const eferAIBRS = 1 << 21
