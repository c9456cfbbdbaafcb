package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// apt is the package manager of this host, if it is one that knows Debian's
// packages. It checks the archive's signatures when it updates its lists, and a
// package's hash against them when it downloads; we check that again.
type apt struct {
	cache cache
	suite string
	run   runner
}

// runner runs a program in a folder and returns what it prints.
type runner func(ctx context.Context, dir, tool string, args ...string) ([]byte, error)

func haveApt() bool {
	for _, t := range []string{"apt-get", "apt-cache"} {
		if _, err := exec.LookPath(t); err != nil {
			return false
		}
	}
	return true
}

// maxOutput bounds what is kept of a program's output in bytes.
const maxOutput = 16 << 20

// limited keeps the first bytes that are written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// runTool runs a program of the host, with messages in English.
func runTool(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out, complaints limited
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		return out.Bytes(), nil
	}
	if why := lastLine(complaints.String()); why != "" {
		return nil, fmt.Errorf("%s: %s", tool, why)
	}
	return nil, fmt.Errorf("%s: %w", tool, err)
}

// find lists the versions that a package has in the suite and its updates.
func (a *apt) find(ctx context.Context, name string) ([]record, error) {
	out, err := a.run(ctx, "", "apt-cache", "-q", "madison", name+":"+debArch)
	if err != nil {
		return nil, fail(CodeFailed, "cannot look for "+name, err.Error(), "apt-get update")
	}
	versions, others := a.versions(out, name)
	if len(versions) == 0 {
		return nil, a.unknown(name, others)
	}
	args := []string{"-q", "show"}
	for v := range versions {
		args = append(args, name+":"+debArch+"="+v)
	}
	sort.Strings(args[2:])
	if out, err = a.run(ctx, "", "apt-cache", args...); err != nil {
		return nil, fail(CodeFailed, "cannot look for "+name, err.Error(), "apt-get update")
	}
	var all []record
	err = eachStanza(bytes.NewReader(out), func(s stanza) error {
		// An installed package is shown a second time, without a hash.
		r := s.record()
		if suite := versions[r.version]; suite != "" && r.sha256 != "" {
			r.from = "apt, " + suite
			all = append(all, r)
		}
		return nil
	})
	return all, err
}

func (a *apt) unknown(name string, others []string) error {
	why := "apt has no such package"
	if len(others) > 0 {
		suite := strings.TrimSuffix(strings.TrimSuffix(others[0], "-security"), "-updates")
		return fail(CodeNotFound, fmt.Sprintf("apt has no %s of suite %q", name, a.suite),
			"it has it in "+strings.Join(others, ", "), "--suite "+suite)
	}
	return fail(CodeNotFound, fmt.Sprintf("cannot find %s of suite %q", name, a.suite), why,
		"apt-get update, or  --mirror http://MIRROR/debian")
}

// versions reads what apt-cache madison prints, lines of the form
//
//	package | version | http://host/debian bookworm/main amd64 Packages
//
// and gives the suite of each version, and other suites where the package is.
func (a *apt) versions(out []byte, name string) (in map[string]string, others []string) {
	in = map[string]string{}
	for _, l := range strings.Split(string(out), "\n") {
		f := strings.Split(l, "|")
		if len(f) != 3 || strings.TrimSpace(f[0]) != name {
			continue
		}
		where, version := strings.Fields(f[2]), strings.TrimSpace(f[1])
		if len(where) != 4 || where[3] != "Packages" || !plainWord(version) {
			continue
		}
		suite, _, _ := strings.Cut(where[1], "/")
		if suite == a.suite || suite == a.suite+"-security" || suite == a.suite+"-updates" {
			in[version] = suite
		} else if !slices.Contains(others, suite) {
			others = append(others, suite)
		}
	}
	return in, others
}

func (a *apt) open(ctx context.Context, r record) (string, error) {
	return a.cache.open(r, func(to *os.File) error { return a.download(ctx, r, to) })
}

// download has apt put the package into a folder of its own, under whatever name
// it chooses, and moves it from there.
func (a *apt) download(ctx context.Context, r record, to *os.File) error {
	dir, err := os.MkdirTemp(string(a.cache), "apt-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Why the user root: as root, apt would download as a user who cannot write
	// here, fall back to root, and warn of it.
	_, err = a.run(ctx, dir, "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download",
		r.name+":"+debArch+"="+r.version)
	if err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		return errors.New("apt-get downloaded nothing")
	}
	from, err := os.Open(found[0])
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = to.ReadFrom(from)
	return err
}
