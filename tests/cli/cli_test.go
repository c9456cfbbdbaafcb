// Package cli runs sessions of the command line against the built binary.
package cli

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/zeebo/xxh3"

	"godwit/control"
	"godwit/machine"
	"godwit/snapshot"
	"godwit/tests/testkit"
)

// godwit is the program under test, built once.
var godwit string

func TestMain(m *testing.M) { os.Exit(testkit.WithProgram(m, &godwit)) }

func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                "testdata",
		RequireUniqueNames: true,
		Deadline:           time.Now().Add(2 * limit),
		Setup: func(e *testscript.Env) error {
			e.Setenv("GODWIT_HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("GUESTS", os.Getenv("GODWIT_GUESTS"))
			e.Setenv("PATH", filepath.Dir(godwit)+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Defer(func() { stopAll(filepath.Join(e.WorkDir, "home")) })
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":     code,
			"until":    until,
			"soon":     soon,
			"gone":     gone,
			"patch":    patch,
			"newer":    newer,
			"created":  created,
			"term":     term,
			"listener": listener,
			"babble":   babble,
			"same":     same,
			"address":  address,
			"type":     typeText,
		},
	})
}

// condition tells whether a session can have what it needs.
func condition(name string) (bool, error) {
	if name != "guests" {
		return false, fmt.Errorf("no condition is called %q", name)
	}
	if dir := os.Getenv("GODWIT_GUESTS"); dir != "" {
		return true, nil
	}
	if os.Getenv("CI") != "" {
		return false, errors.New("GODWIT_GUESTS names no guest: godwit guest debian DIR")
	}
	return false, nil
}

// stopAll ends what a failed session left running.
func stopAll(home string) {
	h := control.Home(home)
	for _, s := range h.List() {
		if s.Live() || s.Listen != "" {
			_ = h.Client(s.Name).Post(context.Background(), "/v1/stop", map[string]string{"how": "force"}, nil)
		}
	}
}

// limit bounds every wait of a session: it is for hangs, not a measure.
const limit = 4 * time.Minute

// code N ARGS... runs godwit and checks its exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: code N ARGS...")
	}
	err := ts.Exec("godwit", args[1:]...)
	got := 0
	if x, ok := err.(*exec.ExitError); ok {
		got = x.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit code is %d, want %s", got, want)
	}
}

// until VM TEXT waits until the guest has printed it.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: until VM TEXT")
	}
	con, err := control.Home(ts.Getenv("GODWIT_HOME")).Client(args[0]).Console(false, false, 1<<16)
	ts.Check(err)
	defer con.Close()
	ts.Check(con.SetDeadline(time.Now().Add(limit)))
	var seen strings.Builder
	for r := bufio.NewReader(con); !strings.Contains(seen.String(), args[1]); {
		b, err := r.ReadByte()
		if err != nil {
			ts.Fatalf("%v after %q", err, seen.String())
		}
		seen.WriteByte(b)
	}
}

// soon TEXT ARGS... runs godwit until it prints what the expression matches: for what
// another process is about to know.
func soon(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || neg {
		ts.Fatalf("usage: soon TEXT ARGS...")
	}
	want := regexp.MustCompile(args[0])
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		ts.Check(ts.Exec("godwit", args[1:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("it never printed %q", args[0])
		}
	}
}

// gone VM waits until the VM's process has ended.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: gone VM")
	}
	h := control.Home(ts.Getenv("GODWIT_HOME"))
	for end := time.Now().Add(limit); h.Alive(args[0]); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s is still there", args[0])
		}
	}
}

// patch FILE OFFSET HEX changes bytes of a file; a negative offset counts from
// its end.
func patch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 || neg {
		ts.Fatalf("usage: patch FILE OFFSET HEX")
	}
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	off, err := strconv.Atoi(args[1])
	ts.Check(err)
	if off < 0 {
		off += len(b)
	}
	v, err := hex.DecodeString(args[2])
	ts.Check(err)
	if len(v) == 0 {
		b = b[:off] // nothing: cut the file there
	}
	copy(b[off:], v)
	ts.Check(os.WriteFile(path, b, 0o600))
}

// newer FILE makes a snapshot say that it needs a newer reader.
func newer(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	b[10] = 99
	binary.LittleEndian.PutUint64(b[4088:], xxh3.Hash(b[:4088]))
	ts.Check(os.WriteFile(path, b, 0o600))
}

// created FILE DURATION saves a snapshot again, as if that had been so long ago.
func created(ts *testscript.TestScript, neg bool, args []string) {
	ago, err := time.ParseDuration(args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	f, err := snapshot.Open(snapshot.Disk{}, path)
	ts.Check(err)
	m, err := machine.Load(context.Background(), f, nil)
	f.Close()
	ts.Check(err)
	defer m.Close()
	ts.Check(os.Remove(path))
	_, err = m.Save(context.Background(), snapshot.Disk{}, path, time.Now().Add(-ago).UnixNano(), snapshot.Options{})
	ts.Check(err)
}

// term VM sends the VM's process SIGTERM, term -9 VM kills it.
func term(ts *testscript.TestScript, neg bool, args []string) {
	sig := os.Signal(syscall.SIGTERM)
	if args[0] == "-9" {
		sig, args = os.Kill, args[1:]
	}
	b, err := os.ReadFile(filepath.Join(ts.Getenv("GODWIT_HOME"), "vm", args[0], "pid"))
	ts.Check(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	ts.Check(err)
	p, err := os.FindProcess(pid)
	ts.Check(err)
	ts.Check(p.Signal(sig))
}

// listener VAR opens a port that answers with what is not godwit's.
func listener(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 400 Bad Request\r\n\r\n", 8))
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
}

// babble ADDR TEXT says something to a port and waits until it is hung up on.
func babble(ts *testscript.TestScript, neg bool, args []string) {
	c, err := net.Dial("tcp", args[0])
	ts.Check(err)
	defer c.Close()
	ts.Check(c.SetDeadline(time.Now().Add(limit)))
	_, err = io.WriteString(c, strings.Repeat(args[1], 200/len(args[1])+1))
	ts.Check(err)
	_, _ = io.Copy(io.Discard, c) // the answer is the peer's business
}

// same FILE FILE compares the last lines of two files.
func same(ts *testscript.TestScript, neg bool, args []string) {
	a, b := lastLine(ts.ReadFile(args[0])), lastLine(ts.ReadFile(args[1]))
	if a == "" || (a == b) == neg {
		ts.Fatalf("%q and %q", a, b)
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	f := strings.Fields(lines[len(lines)-1])
	return strings.Join(f[max(0, len(f)-2):], " ") // "#N HASH", whatever the guest left before it
}

// address VAR VM asks where a VM listens, which may still be starting.
func address(ts *testscript.TestScript, neg bool, args []string) {
	h := control.Home(ts.Getenv("GODWIT_HOME"))
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if st := h.Look(args[1]); st.Listen != "" {
			ts.Setenv(args[0], st.Listen)
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s does not listen", args[1])
		}
	}
}

// type VM TEXT types at a VM's console; \r in TEXT is the return key.
func typeText(ts *testscript.TestScript, neg bool, args []string) {
	con, err := control.Home(ts.Getenv("GODWIT_HOME")).Client(args[0]).Console(true, true, 0)
	ts.Check(err)
	_, err = io.WriteString(con, strings.ReplaceAll(args[1], `\r`, "\r"))
	ts.Check(err)
	ts.Check(con.CloseWrite())
	ts.Check(con.Close())
}
