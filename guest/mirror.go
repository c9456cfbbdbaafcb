package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// Bounds on what a mirror sends, in bytes. Debian 12's Release has 150 KB, its
// index 9 MB packed and 47 MB unpacked.
const (
	maxRelease  = 8 << 20
	maxIndex    = 128 << 20
	maxIndexRaw = 1 << 30
	maxDeb      = 1 << 30
)

// mirror is an archive of Debian packages. Trust starts at the suite's Release
// file, whose hash the user gave or explicitly waived: it has the hash of the
// index, which has those of the packages.
type mirror struct {
	cache   cache
	url     string // of the folder that has dists/
	suite   string
	arch    string
	release string // sha256 of dists/SUITE/Release; "" where the user trusts the mirror
	client  *http.Client
	records []record
	ready   bool
}

func newMirror(c cache, url, suite, arch, release string) (*mirror, error) {
	url = strings.TrimRight(url, "/")
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return nil, fail(CodeUsage, fmt.Sprintf("mirror %q is no http or https address", url), "",
			"--mirror http://MIRROR/debian")
	}
	if release != "" && !isHash(strings.ToLower(release)) {
		return nil, fail(CodeUsage, fmt.Sprintf("--release-sha256 %q is no sha256", release), "it has 64 hexadecimal digits", "sha256sum Release")
	}
	// Security updates are an archive of their own, with suites of their own.
	if path.Base(url) == "debian-security" && !strings.HasSuffix(suite, "-security") {
		suite += "-security"
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	return &mirror{cache: c, url: url, suite: suite, arch: arch, release: strings.ToLower(release), client: &http.Client{Transport: t}}, nil
}

// get streams a file of the archive.
func (m *mirror) get(ctx context.Context, file string) (io.ReadCloser, error) {
	what := "cannot fetch " + m.url + "/" + file
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url+"/"+file, nil)
	if err != nil {
		return nil, fail(CodeUsage, what, err.Error(), "")
	}
	res, err := m.client.Do(req)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fail(CodeUnreachable, what, err.Error(), "")
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	res.Body.Close()
	return nil, fail(CodeNotFound, what, "the mirror answers "+res.Status, "another  --mirror  or  --suite")
}

// all reads a small file of the archive.
func (m *mirror) all(ctx context.Context, file string, most int64) ([]byte, error) {
	r, err := m.get(ctx, file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(&bounded{ctx, r, most})
	if errors.Is(err, errTooMuch) {
		return nil, damagedIndex("%s has more than %d bytes", file, most)
	}
	return b, wrap("cannot fetch "+m.url+"/"+file, err)
}

func damagedIndex(format string, args ...any) *Error {
	return fail(CodeAltered, "mirror is damaged", fmt.Sprintf(format, args...), "another  --mirror")
}

func indexFile(arch string) string { return "main/binary-" + arch + "/Packages.xz" }

// load reads the index down from the Release file. It keeps what can become a
// guest.
func (m *mirror) load(ctx context.Context) error {
	base := "dists/" + m.suite + "/"
	release, err := m.all(ctx, base+"Release", maxRelease)
	if err != nil {
		return err
	}
	if sum := hashBytes(release); m.release != "" && sum != m.release {
		return differs(m.url+"/"+base+"Release", sum, m.release)
	}
	indexFile := indexFile(m.arch)
	sum, size, err := releaseEntry(release, m.suite, indexFile)
	if err != nil {
		return err
	}
	index, err := m.all(ctx, base+indexFile, size)
	if err != nil {
		return err
	}
	if have := hashBytes(index); have != sum {
		return differs(m.url+"/"+base+indexFile, have, sum)
	}
	z, err := newXZ(bytes.NewReader(index))
	if err != nil {
		return damagedIndex("%s: %v", indexFile, err)
	}
	return eachStanza(&bounded{ctx, z, maxIndexRaw}, func(s stanza) error {
		if n := s["Package"]; n == shellPackage || strings.HasPrefix(n, imagePrefix) {
			r := s.record()
			r.from = m.url + " " + m.suite
			m.records = append(m.records, r)
		}
		return nil
	})
}

// releaseEntry finds the sha256 and the size of a file in a suite's Release file.
func releaseEntry(release []byte, suite, file string) (sum string, size int64, err error) {
	err = eachStanza(bytes.NewReader(release), func(s stanza) error {
		if s["Codename"] != suite && s["Suite"] != suite {
			return damagedIndex("Release is of suite %.40q, not %q", s["Codename"], suite)
		}
		for _, l := range strings.Split(s["SHA256"], "\n") {
			if f := strings.Fields(l); len(f) == 3 && f[2] == file {
				n, err := strconv.ParseInt(f[1], 10, 64)
				if err != nil || n < 0 || n > maxIndex || !isHash(f[0]) {
					return damagedIndex("Release describes %s by %.80q", file, l)
				}
				sum, size = f[0], n
			}
		}
		return nil
	})
	if err == nil && sum == "" {
		err = damagedIndex("Release has no sha256 of %s", file)
	}
	return sum, size, err
}

func (m *mirror) find(ctx context.Context, name string) ([]record, error) {
	if !m.ready {
		if err := m.load(ctx); err != nil {
			return nil, wrap("cannot read the index of "+m.url, err)
		}
		m.ready = true
	}
	var out []record
	for _, r := range m.records {
		if r.name == name {
			out = append(out, r)
		}
	}
	return out, nil
}

func (m *mirror) open(ctx context.Context, r record) (string, error) {
	if _, err := plain(r.file); err != nil || r.size <= 0 || r.size > maxDeb {
		return "", damagedIndex("package %s is at %.80q and has %d bytes", r.name, r.file, r.size)
	}
	return m.cache.open(r, func(to *os.File) error {
		body, err := m.get(ctx, r.file)
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(to, &bounded{ctx, body, r.size})
		if errors.Is(err, errTooMuch) {
			return damagedIndex("%s has more than the announced %d bytes", r.file, r.size)
		}
		return err
	})
}

// mirrors is several archives, such as Debian's and that of its security
// updates.
type mirrors []*mirror

func (ms mirrors) find(ctx context.Context, name string) ([]record, error) {
	var all []record
	for i, m := range ms {
		rs, err := m.find(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, r := range rs {
			r.source = i
			all = append(all, r)
		}
	}
	return all, nil
}

func (ms mirrors) open(ctx context.Context, r record) (string, error) {
	return ms[r.source].open(ctx, r)
}
