package local

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// DefaultName is the mesh's name when none is given.
const DefaultName = "default"

// Mode is how the mesh gets the rights that namespaces need.
type Mode string

// The modes. The zero value is neither.
const (
	Root     Mode = "root"     // CAP_SYS_ADMIN and CAP_NET_ADMIN are there
	Rootless Mode = "rootless" // a user namespace gives them
)

// Options of Run.
type Options struct {
	// Name tells meshes of one user apart; lower case letters, digits, '-'.
	// Empty means DefaultName.
	Name string
	// Config is handed to the Controllers as it is (Mesh.Config).
	Config []byte
	// Keep are absolute paths of files and directories that pods must see, such
	// as the folder of the configuration and the programs. The working directory
	// and this binary are kept anyway.
	Keep []string
	// StopTimeout is how long the Controllers may take to end after ctx is
	// done, before everything is killed. 0 means 60 s.
	StopTimeout time.Duration
	// Log gets what the supervisor has to say. Nil means slog.Default().
	Log *slog.Logger
}

// Controllers is what meshd runs: it makes pods through m until ctx is done
// (the mesh is asked to stop), then stops them and returns. What it returns is
// what Run returns. Standard output and error are the supervisor's.
type Controllers func(ctx context.Context, m *Mesh) error

// ErrLinuxOnly is returned where there are no namespaces to make a mesh of.
var ErrLinuxOnly = errors.New("local mesh: it is made of Linux namespaces and nftables, so it runs on Linux only; use a Linux machine or VM, or a cluster")

// ErrNotRunning is returned by Connect (wrapped) when no mesh has that name.
var ErrNotRunning = errors.New("no such mesh is running")
