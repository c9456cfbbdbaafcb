package host

import (
	"os"
	"os/exec"
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
	if ok, err = tryLock(f); !ok {
		f.Close()
		return nil, false, err
	}
	return f, true, nil
}
