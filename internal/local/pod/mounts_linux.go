package pod

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/internal/capture"
)

// secretive are directories of sockets through which name lookups would go past
// the pod's resolver: nscd and systemd-resolved.
var secretive = []string{"/run/nscd", "/var/run/nscd", "/run/systemd/resolve"}

// mountAll makes the pod's view of the file system: that of the machine, with
// its own /proc, its own files in /etc, and its run directory.
func mountAll(c *config) error {
	if err := Private(); err != nil {
		return err
	}
	shared, err := openShared(c)
	if err != nil {
		return err
	}
	if err := mountEtc(c); err != nil {
		return err
	}
	if err := mountRunDir(c, shared); err != nil {
		return err
	}
	for _, dir := range secretive {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if err := Tmpfs(dir, "0755"); err != nil {
			return err
		}
	}
	return nil
}

// Private detaches this mount namespace from the machine's and gives it the
// /proc of its pid namespace.
func Private() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// freezeSysctls makes /proc/sys read-only, as it is in a container: those of the
// machine are there too, and an app may be run by root.
func freezeSysctls() error {
	if err := unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind /proc/sys: %w", err)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("", "/proc/sys", "", flags, ""); err != nil {
		return fmt.Errorf("make /proc/sys read-only: %w", err)
	}
	return nil
}

// Tmpfs mounts an empty file system in memory over dir.
func Tmpfs(dir, mode string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode="+mode); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// openShared holds the shared directories open while the mesh's file system,
// with all that is in it for other pods, is covered.
func openShared(c *config) (map[string]int, error) {
	open := map[string]int{}
	for _, name := range c.Spec.Shared {
		fd, err := unix.Open(filepath.Join(c.MeshDir, name), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("shared directory %q: %w; make it by Mesh.SharedDir first", name, err)
		}
		open[name] = fd
	}
	return open, nil
}

func mountRunDir(c *config, shared map[string]int) error {
	if err := Tmpfs(c.MeshDir, "1777"); err != nil {
		return err
	}
	for name, fd := range shared {
		dir := filepath.Join(c.MeshDir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind shared directory %q: %w", name, err)
		}
		unix.Close(fd)
	}
	if err := os.Mkdir(c.RunDir, 0o755); err != nil {
		return err
	}
	for _, f := range c.Spec.Files {
		if err := writeFile(c, f); err != nil {
			return fmt.Errorf("file %q of the run directory: %w", f.Path, err)
		}
	}
	for _, p := range c.Spec.Programs {
		if err := bindProgram(c, p); err != nil {
			return fmt.Errorf("program %q: %w", p.Name, err)
		}
	}
	if c.Spec.Private != "" {
		if err := c.privateDir(); err != nil {
			return fmt.Errorf("directory %q of the run directory: %w", c.Spec.Private, err)
		}
	}
	return proxyDir(c)
}

// privateDir is for the apps and those who serve them as the same user.
func (c *config) privateDir() error {
	if !filepath.IsLocal(c.Spec.Private) {
		return errors.New("the path must stay inside: relative, without \"..\"")
	}
	dir := filepath.Join(c.RunDir, c.Spec.Private)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return c.Identity.giveToApp(dir)
}

// bindProgram makes a file of the machine readable and executable in the run
// directory: it may lie below a folder that the proxy's user cannot enter.
func bindProgram(c *config, p Program) error {
	if p.Name == "" || p.Name != filepath.Base(p.Name) || !filepath.IsAbs(p.Path) {
		return errors.New("a plain name and an absolute path are needed")
	}
	to := filepath.Join(c.RunDir, "bin", p.Name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to, nil, 0o555); err != nil {
		return err
	}
	if err := unix.Mount(p.Path, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", p.Path, err)
	}
	// What the machine's mount already forbids must be said again, or a user
	// namespace may not remount.
	var st unix.Statfs_t
	if err := unix.Statfs(to, &st); err != nil {
		return err
	}
	keep := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOATIME | unix.MS_RELATIME)
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|keep, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", to, err)
	}
	return nil
}

// proxyDir is where the agent keeps its sockets: the app may not look inside.
func proxyDir(c *config) error {
	dir := filepath.Join(c.RunDir, "proxy")
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return c.Identity.giveToProxy(dir)
}

func writeFile(c *config, f File) error {
	if !filepath.IsLocal(f.Path) {
		return errors.New("the path must stay inside: relative, without \"..\"")
	}
	path := filepath.Join(c.RunDir, f.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if !f.ProxyOnly && !f.AppOnly {
		return os.WriteFile(path, f.Data, 0o444)
	}
	if err := os.WriteFile(path, f.Data, 0o400); err != nil {
		return err
	}
	if f.AppOnly {
		return c.Identity.giveToApp(path)
	}
	return c.Identity.giveToProxy(path)
}

func (i Identity) giveToProxy(path string) error {
	if i.Rootless {
		return nil // user 0 of the pod is the proxy's
	}
	return os.Chown(path, int(capture.ProxyUID), int(capture.ProxyUID))
}

func (i Identity) giveToApp(path string) error {
	if i.Rootless {
		return nil // it is the one user that there is
	}
	return os.Chown(path, int(i.Default.UID), int(i.Default.GID))
}

// mountEtc lays the pod's files over /etc. An overlay survives that the machine
// replaces its own files, and symlinks among them; where the kernel has no
// overlay for users, each file is bound over the one that is there.
func mountEtc(c *config) error {
	files := etcFiles(c.Spec)
	layer := c.MeshDir
	if err := Tmpfs(layer, "0755"); err != nil {
		return err
	}
	defer func() { _ = unix.Unmount(layer, unix.MNT_DETACH) }() // the mounts keep what they use of it
	if err := overlayEtc(c, layer); err != nil {
		return bindEtc(layer, files)
	}
	for name, text := range files {
		// Unlinked first: the lower file may belong to a user that is not mapped.
		if err := os.Remove("/etc/" + name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.WriteFile("/etc/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func overlayEtc(c *config, layer string) error {
	upper, work := filepath.Join(layer, "upper"), filepath.Join(layer, "work")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", upper, work)
	if c.Identity.Rootless {
		options += ",userxattr"
	}
	return unix.Mount("overlay", "/etc", "overlay", 0, options)
}

func bindEtc(layer string, files map[string]string) error {
	for name, text := range files {
		from, to := filepath.Join(layer, name), "/etc/"+name
		if err := os.WriteFile(from, []byte(text), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind over %s: %w (no overlay file system either: modprobe overlay)", to, err)
		}
	}
	return nil
}

// etcFiles are the files by which a pod finds names.
func etcFiles(s Spec) map[string]string {
	var hosts, resolv strings.Builder
	for _, e := range s.hostsOf() {
		fmt.Fprintf(&hosts, "%s\t%s\n", e.IP, strings.Join(e.Names, " "))
	}
	for _, server := range s.DNS.Nameservers {
		fmt.Fprintf(&resolv, "nameserver %s\n", server)
	}
	if len(s.DNS.Search) > 0 {
		fmt.Fprintf(&resolv, "search %s\n", strings.Join(s.DNS.Search, " "))
	}
	if len(s.DNS.Options) > 0 {
		fmt.Fprintf(&resolv, "options %s\n", strings.Join(s.DNS.Options, " "))
	}
	return map[string]string{
		"hosts":       hosts.String(),
		"resolv.conf": resolv.String(),
		"hostname":    s.hostname() + "\n",
		// nss-resolve and the like would ask past port 53.
		"nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
	}
}
