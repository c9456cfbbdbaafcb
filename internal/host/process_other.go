//go:build !unix && !windows

package host

import (
	"os"
	"syscall"
)

func apart() *syscall.SysProcAttr { return nil }

func tryLock(*os.File, bool) (bool, error) { return true, nil }

// Terminations are the signals that ask a process to end.
func Terminations() []os.Signal { return []os.Signal{os.Interrupt} }

// OnResize never calls f.
func OnResize(func()) (stop func()) { return func() {} }

// SignalNumber is the number shells add to 128.
func SignalNumber(os.Signal) int { return 0 }
