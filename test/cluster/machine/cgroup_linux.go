package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted tree of cgroups: all of cgroup v2, or some
// controllers of v1.
type hierarchy struct {
	dir     string // where the host has it
	v2      bool
	options string // to mount it again: v1's controllers or name
}

// hierarchies reads those of this mount namespace. A v2 tree beside v1 ones has
// no controllers, and is left alone.
func hierarchies() ([]hierarchy, error) {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var v1, v2 []hierarchy
	for line := range strings.Lines(string(content)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		fields, fs := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(fs) < 3 {
			continue
		}
		switch fs[0] {
		case "cgroup":
			v1 = append(v1, hierarchy{dir: fields[4], options: controllers(fs[2])})
		case "cgroup2":
			v2 = append(v2, hierarchy{dir: fields[4], v2: true})
		}
	}
	if len(v1) > 0 {
		return v1, nil
	}
	if len(v2) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted: a node needs cgroups")
	}
	return v2[:1], nil
}

// controllers are the mount options that say which v1 hierarchy it is.
func controllers(super string) string {
	kept := slices.DeleteFunc(strings.Split(super, ","), func(o string) bool {
		return o == "rw" || o == "ro" || strings.Contains(o, "=") && !strings.HasPrefix(o, "name=")
	})
	named := slices.IndexFunc(kept, func(o string) bool { return strings.HasPrefix(o, "name=") })
	if named >= 0 {
		return "none," + kept[named]
	}
	return strings.Join(kept, ",")
}

// joinCgroup puts process pid into the group at path of every hierarchy, which
// it makes.
func joinCgroup(path string, pid int) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range all {
		if err := h.make(path); err != nil {
			return fmt.Errorf("cgroup %s of %s: %w", path, h.dir, err)
		}
		procs := filepath.Join(h.dir, path, "cgroup.procs")
		if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// make makes the group with its parents. A cpuset is useless until it has CPUs
// and memory nodes; those below copy its.
func (h hierarchy) make(path string) error {
	dir := h.dir
	for part := range strings.SplitSeq(path, "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			return err
		}
		if h.v2 {
			if err := delegate(parent); err != nil {
				return err
			}
		}
		if !slices.Contains(strings.Split(h.options, ","), "cpuset") {
			continue
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(parent, file))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// delegate gives the groups below a v2 group all controllers that it has.
func delegate(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var enable []string
	for _, c := range strings.Fields(string(content)) {
		enable = append(enable, "+"+c)
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(strings.Join(enable, " ")), 0o644)
}

// mountCgroups gives a machine, which is in a cgroup namespace of its own, its
// part of every hierarchy at the usual places. /sys must be the machine's own.
func mountCgroups(all []hierarchy) error {
	const root = "/sys/fs/cgroup"
	if len(all) == 1 && all[0].v2 {
		if err := unix.Mount("cgroup2", root, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("mount cgroup2: %w", err)
		}
		return leaf(root)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	for _, h := range all {
		dir := filepath.Join(root, filepath.Base(h.dir))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("cgroup", dir, "cgroup", 0, h.options); err != nil {
			return fmt.Errorf("mount cgroup %s on %s: %w", h.options, dir, err)
		}
		for c := range strings.SplitSeq(h.options, ",") {
			if link := filepath.Join(root, c); c != "none" && !strings.Contains(c, "=") && link != dir {
				if err := os.Symlink(filepath.Base(dir), link); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// leaf moves this process out of a v2 group that is to have groups below it.
func leaf(root string) error {
	dir := filepath.Join(root, "init")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0o644); err != nil {
		return err
	}
	return delegate(root)
}

// removeCgroup kills what is left in the group and all below it, and removes
// them. A group that is not there is no error.
func removeCgroup(path string, limit time.Duration) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	deadline, tick := time.After(limit), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		var left error
		for _, h := range all {
			left = errors.Join(left, removeTree(filepath.Join(h.dir, path)))
		}
		if left == nil {
			return nil
		}
		select {
		case <-deadline:
			return left
		case <-tick.C:
		}
	}
}

// removeTree removes a group, deepest first, and kills its processes.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var left error
	for _, e := range entries {
		if e.IsDir() {
			left = errors.Join(left, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for pid := range strings.FieldsSeq(string(procs)) {
		if n, err := strconv.Atoi(pid); err == nil && n > 0 {
			_ = unix.Kill(n, unix.SIGKILL) // it may have ended
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return errors.Join(left, fmt.Errorf("remove cgroup %s: %w", dir, err))
	}
	return left
}
