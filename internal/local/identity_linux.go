package local

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
	"github.com/weftmesh/weft/internal/local/pod"
)

// chooseMode goes by rights, not by user: a user 0 in a container may have none.
func chooseMode() Mode {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return Rootless
	}
	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	if data[0].Effective&needed == needed && hasProxyUser() {
		return Root
	}
	return Rootless
}

// hasProxyUser tells whether the proxy can have a user of its own: in a user
// namespace of one user it cannot.
func hasProxyUser() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true // a kernel without user namespaces
	}
	for line := range strings.Lines(string(text)) {
		var first, outer, size uint64
		if _, err := fmt.Sscan(line, &first, &outer, &size); err != nil {
			continue
		}
		if proxy := uint64(capture.ProxyUID); proxy >= first && proxy < first+size {
			return true
		}
	}
	return false
}

// setup gathers what meshd needs to know.
func (s *supervisor) setup() (*setup, error) {
	dir, err := chooseMeshDir(s.options.Keep)
	if err != nil {
		return nil, err
	}
	return &setup{
		Name: s.options.Name, Mode: s.mode, Config: s.options.Config, MeshDir: dir,
		Identity: pod.Identity{Rootless: s.mode == Rootless, Default: appUser(s.mode)},
	}, nil
}

// appUser is who asked for the mesh: behind sudo, the one who typed it.
func appUser(m Mode) pod.User {
	own := pod.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	if m == Rootless || own.UID != 0 {
		return own
	}
	uid, err1 := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32)
	gid, err2 := strconv.ParseUint(os.Getenv("SUDO_GID"), 10, 32)
	if err1 != nil || err2 != nil {
		return own
	}
	return pod.User{UID: uint32(uid), GID: uint32(gid), Groups: groupsOf(os.Getenv("SUDO_UID"))}
}

// groupsOf lists a user's further groups, of which not to know any is no error.
func groupsOf(uid string) (list []uint32) {
	u, err := user.LookupId(uid)
	if err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			list = append(list, uint32(n))
		}
	}
	return list
}

// meshDirs are directories that exist on any Linux and that programs can do
// without: the mesh's memory file system covers one of them, inside the mesh.
var meshDirs = []string{"/dev/shm", "/mnt", "/media", "/srv"}

// chooseMeshDir takes the first that hides nothing which must stay visible.
func chooseMeshDir(keep []string) (string, error) {
	keep = append([]string(nil), keep...)
	if exe, err := os.Executable(); err == nil {
		keep = append(keep, exe)
	}
	if dir, err := os.Getwd(); err == nil {
		keep = append(keep, dir)
	}
	for _, dir := range meshDirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !hides(dir, keep) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("local mesh: each of %v is missing or holds files in use (%v); move those elsewhere", meshDirs, keep)
}

func hides(dir string, keep []string) bool {
	for _, path := range keep {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}
