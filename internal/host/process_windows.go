package host

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/windows"
)

// apart makes a child independent of this console.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP}
}

// tryLock takes a lock, or a share in one, that is gone with the file.
func tryLock(f *os.File, shared bool) (bool, error) {
	var o windows.Overlapped
	how := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if !shared {
		how |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	err := windows.LockFileEx(windows.Handle(f.Fd()), how, 0, 1, 0, &o)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

// Terminations are the signals that ask a process to end.
func Terminations() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// OnResize never calls f: consoles send no such signal.
func OnResize(func()) (stop func()) { return func() {} }

// SignalNumber is the number shells add to 128.
func SignalNumber(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return int(n)
	}
	return 0
}
