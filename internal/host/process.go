package host

import (
	"errors"
	"os"
	"os/exec"
	"time"
)

// Start starts a program that outlives this one and its terminal. Its standard
// input is empty.
func Start(path string, args []string, stdout, stderr *os.File) (*os.Process, error) {
	c := exec.Command(path, args...)
	c.Stdout, c.Stderr = stdout, stderr
	c.SysProcAttr = apart()
	if err := c.Start(); err != nil {
		return nil, err
	}
	return c.Process, nil
}

// Lock locks a file that it creates where needed, for as long as the file stays
// open. ok is false when another process holds it.
func Lock(path string) (f *os.File, ok bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	for range lockTries {
		if ok, err = tryLock(f, false); ok || err != nil {
			break
		}
		time.Sleep(time.Millisecond) // whoever has it may only look: see Locked
	}
	if !ok {
		f.Close()
		return nil, false, err
	}
	return f, true, nil
}

// lockTries is how often a lock is tried, a millisecond apart.
const lockTries = 20

// Locked tells whether somebody holds the lock of a file. It leaves no trace: a file
// that is not there is not made, and others that ask at the same time do not see it.
func Locked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	ok, err := tryLock(f, true)
	return !ok && err == nil, err
}
