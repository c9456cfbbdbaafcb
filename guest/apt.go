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
	arch  string
	own   string // the folder of lists of our own; "" where those of the host serve
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

// newApt is the host's apt. For another architecture than Debian's usual one it
// gets lists of its own, so that the host need not be told of it.
func (o *Options) newApt(ctx context.Context) (*apt, error) {
	a := &apt{cache: cache(o.Cache), suite: o.Suite, arch: o.Arch, run: runTool}
	if o.Arch == DefaultArch {
		return a, nil
	}
	own, err := filepath.Abs(filepath.Join(o.Cache, "apt-"+o.Arch))
	if err != nil {
		return nil, err
	}
	a.own = own
	for _, dir := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(own, dir), 0o700); err != nil {
			return nil, err
		}
	}
	// An index that a mirror is just replacing is no reason to give up: what is
	// missing then is told by name.
	if _, err := a.apt(ctx, "", "apt-get", "-qq", "update"); ctx.Err() != nil {
		return nil, err
	}
	return a, nil
}

// apt runs one of apt's programs.
func (a *apt) apt(ctx context.Context, dir, tool string, args ...string) ([]byte, error) {
	if a.own != "" {
		args = append(args, "-oAPT::Architecture="+a.arch, "-oAPT::Architectures::="+a.arch, "-oDir::State="+a.own,
			"-oDir::State::status=/dev/null", "-oDir::Cache="+a.own, "-oAPT::Sandbox::User=root")
	}
	return a.run(ctx, dir, tool, args...)
}

// closure lists packages and all that they depend on, recommendations left out,
// as apt would install them on an empty system.
func (a *apt) closure(ctx context.Context, names []string) ([]record, error) {
	args := append([]string{"-qq", "install", "-s", "--no-install-recommends", "-oDir::State::status=/dev/null"}, names...)
	out, err := a.apt(ctx, "", "apt-get", args...)
	if err != nil {
		return nil, fail(CodeNotFound, "cannot resolve "+strings.Join(names, ", "), err.Error(), "apt-get update")
	}
	show := []string{"-q", "show"}
	for _, l := range strings.Split(string(out), "\n") {
		// Inst libc6 (2.36-9 Debian:12.5/stable [amd64])
		if f := strings.Fields(l); len(f) > 2 && f[0] == "Inst" {
			name, _, _ := strings.Cut(f[1], ":")
			show = append(show, name+"="+strings.TrimPrefix(f[2], "("))
		}
	}
	if out, err = a.apt(ctx, "", "apt-cache", show...); err != nil {
		return nil, fail(CodeFailed, "cannot look for "+strings.Join(names, ", "), err.Error(), "apt-get update")
	}
	seen := map[string]bool{}
	var all []record
	err = eachStanza(bytes.NewReader(out), func(s stanza) error {
		r := s.record()
		r.from = "apt"
		if r.sha256 == "" || seen[r.name] || (r.arch != a.arch && r.arch != "all") {
			return nil
		}
		seen[r.name] = true
		all = append(all, r)
		return r.usable()
	})
	if err == nil && len(all) != len(show)-2 {
		err = fail(CodeFailed, "cannot resolve "+strings.Join(names, ", "),
			fmt.Sprintf("apt names %d packages and describes %d", len(show)-2, len(all)), "apt-get update")
	}
	if err != nil {
		return nil, err
	}
	return all, a.fetch(ctx, all)
}

// find lists the versions that a package has in the suite and its updates.
func (a *apt) find(ctx context.Context, name string) ([]record, error) {
	out, err := a.apt(ctx, "", "apt-cache", "-q", "madison", name+":"+a.arch)
	if err != nil {
		return nil, fail(CodeFailed, "cannot look for "+name, err.Error(), "apt-get update")
	}
	versions, others := a.versions(out, name)
	if len(versions) == 0 {
		return nil, a.unknown(name, others)
	}
	args := []string{"-q", "show"}
	for v := range versions {
		args = append(args, name+":"+a.arch+"="+v)
	}
	sort.Strings(args[2:])
	if out, err = a.apt(ctx, "", "apt-cache", args...); err != nil {
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

// open has apt download a package that is not cached yet.
func (a *apt) open(ctx context.Context, r record) (string, error) {
	if err := a.fetch(ctx, []record{r}); err != nil {
		return "", err
	}
	return a.cache.open(r, func(*os.File) error { return errors.New("apt-get downloaded nothing") })
}

// fetch has apt download packages that are not cached yet, all of them by one
// run of it: each run reads all lists.
func (a *apt) fetch(ctx context.Context, rs []record) error {
	var missing []record
	args := []string{"-qq", "-o", "APT::Sandbox::User=root", "download"}
	for _, r := range rs {
		if sum, err := hashFile(a.cache.path(r)); err != nil || sum != r.sha256 {
			arch := r.arch
			if arch == "all" {
				arch = a.arch
			}
			missing = append(missing, r)
			args = append(args, r.name+":"+arch+"="+r.version)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if err := os.MkdirAll(string(a.cache), 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(string(a.cache), "apt-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// Why the user root: as root, apt would download as a user who cannot write
	// here, fall back to root, and warn of it.
	if _, err := a.apt(ctx, dir, "apt-get", args...); err != nil {
		return wrap("cannot fetch "+missing[0].name+" "+missing[0].version, err)
	}
	for _, r := range missing {
		if _, err := a.cache.open(r, func(to *os.File) error { return take(dir, r, to) }); err != nil {
			return err
		}
	}
	return nil
}

// take copies a package from the folder where apt has put it under a name that
// it chose.
func take(dir string, r record, to *os.File) error {
	found, err := filepath.Glob(filepath.Join(dir, r.name+"_*.deb"))
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
