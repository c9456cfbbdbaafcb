package host

import (
	"os"

	"golang.org/x/sys/windows"
)

// enableVT lets the console understand escape sequences, as guests send them.
func enableVT(out *os.File) (undo func()) {
	h := windows.Handle(out.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil {
		return func() {}
	}
	_ = windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING)
	return func() { _ = windows.SetConsoleMode(h, mode) }
}
