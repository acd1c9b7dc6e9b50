//go:build !linux

package cli

import (
	"os"
	"syscall"

	"github.com/weftmesh/weft/internal/local"
)

func ownSession() *syscall.SysProcAttr { return nil }

func memoryFile(string) (*os.File, error) { return nil, local.ErrLinuxOnly }
