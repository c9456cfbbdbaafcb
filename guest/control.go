package guest

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
)

// stanza is one paragraph of a control file, of a package index or of what
// apt-cache shows: fields by name, continuation lines joined by \n [DEB822].
type stanza map[string]string

// Bounds of control files in bytes. Debian 12's longest line has 20 KB, its
// longest paragraph is the Release file with 150 KB.
const (
	maxLine   = 1 << 20
	maxStanza = 16 << 20
)

// stanzas reads paragraphs line by line.
type stanzas struct {
	s     stanza
	field string
	value []string // lines of the field
	size  int
}

// end puts the last field in its place.
func (p *stanzas) end() {
	if p.field != "" {
		p.s[p.field] = strings.Join(p.value, "\n")
	}
	p.field, p.value = "", nil
}

func (p *stanzas) line(l string) error {
	if p.size += len(l) + 1; p.size > maxStanza {
		return damaged("a paragraph of a control file is longer than %d bytes", maxStanza)
	}
	if l[0] == ' ' || l[0] == '\t' {
		p.value = append(p.value, strings.TrimSpace(l))
		return nil
	}
	name, value, ok := strings.Cut(l, ":")
	if !ok || name == "" {
		return damaged("%.40q is no field of a control file", l)
	}
	p.end()
	p.field, p.value = name, []string{strings.TrimSpace(value)}
	return nil
}

// flush ends a paragraph.
func (p *stanzas) flush(fn func(stanza) error) error {
	p.end()
	s := p.s
	p.s, p.size = stanza{}, 0
	if len(s) == 0 {
		return nil
	}
	return fn(s)
}

// eachStanza calls fn for every paragraph.
func eachStanza(r io.Reader, fn func(stanza) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	p := &stanzas{s: stanza{}}
	for sc.Scan() {
		l := sc.Text()
		var err error
		if strings.TrimSpace(l) == "" {
			err = p.flush(fn)
		} else {
			err = p.line(l)
		}
		if err != nil {
			return err
		}
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return damaged("a line of a control file is longer than %d bytes", maxLine)
	} else if err != nil {
		return err
	}
	return p.flush(fn)
}

// record is what an archive says of a package.
type record struct {
	name, version, arch string
	depends             string
	sha256              string // 64 hexadecimal digits
	file                string // where it is, in the words of its source
	size                int64
	from                string // the source, for people
	source              int    // which of several mirrors
}

// record is what a stanza says, without a source.
func (s stanza) record() record {
	size, _ := strconv.ParseInt(s["Size"], 10, 64) // absent or nonsense: no download has that size
	return record{
		name: s["Package"], version: s["Version"], arch: s["Architecture"], depends: s["Depends"],
		sha256: strings.ToLower(s["SHA256"]), file: s["Filename"], size: size,
	}
}

// image finds the first dependency that is a kernel image, as metapackages such
// as linux-image-cloud-amd64 have one, and its version if they name one.
func (r record) image() (name, version string) {
	for _, d := range strings.Split(r.depends, ",") {
		d, _, _ = strings.Cut(d, "|")
		d = strings.TrimSpace(d)
		name, rest, _ := strings.Cut(d, " ")
		name, _, _ = strings.Cut(name, ":")
		if !strings.HasPrefix(name, imagePrefix) {
			continue
		}
		rest = strings.Trim(strings.TrimSpace(rest), "()")
		if v, ok := strings.CutPrefix(rest, "="); ok {
			return name, strings.TrimSpace(v)
		}
		return name, ""
	}
	return "", ""
}

// usable says whether names and hashes of a record can be relied on as parts of
// file names and command lines.
func (r record) usable() error {
	if !plainWord(r.name) || !plainWord(r.version) || !isHash(r.sha256) {
		return damaged("the archive describes %.60q %.60q with sha256 %.70q", r.name, r.version, r.sha256)
	}
	return nil
}

// plainWord tells what package names and versions consist of [DEBPOLICY 5.6.7].
func plainWord(s string) bool {
	for _, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune(".+-~:_", c) {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[0] != '.' && len(s) <= 200
}

func isHash(s string) bool {
	for _, c := range s {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return len(s) == 64
}

// compareVersions orders two versions as dpkg does [DEBPOLICY 5.6.12].
func compareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	for _, p := range [][2]string{{ea, eb}, {ua, ub}, {ra, rb}} {
		if c := comparePart(p[0], p[1]); c != 0 {
			return c
		}
	}
	return 0
}

func splitVersion(v string) (epoch, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		epoch, v = e, rest
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		v, revision = v[:i], v[i+1:]
	}
	return epoch, v, revision
}

// comparePart compares digits as numbers and what is between them by order.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		na, nb := prefix(a, false), prefix(b, false)
		for i := range max(na, nb) {
			if x, y := order(a[:na], i), order(b[:nb], i); x != y {
				return x - y
			}
		}
		a, b = a[na:], b[nb:]
		na, nb = prefix(a, true), prefix(b, true)
		x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

func prefix(s string, digits bool) int {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9') == digits {
		i++
	}
	return i
}

// order ranks the character at i: a tilde sorts before the end, letters before
// everything else.
func order(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z':
		return int(s[i])
	}
	return int(s[i]) + 256
}
