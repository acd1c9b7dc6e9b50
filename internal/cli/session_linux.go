package cli

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownSession keeps a terminal's signals away.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// memoryFile is a file without a name, gone when nobody has it open.
func memoryFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
