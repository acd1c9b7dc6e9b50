package local

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// step is a part of the probe, each of which needs a right of its own.
type step string

const (
	stepClone  step = "make namespaces"
	stepMount  step = "mount in a mount namespace"
	stepProc   step = "mount /proc"
	stepTmpfs  step = "mount a tmpfs"
	stepBridge step = "set up a bridge and routing"
	stepVeth   step = "add a veth interface"
	stepNft    step = "add nftables rules"
	stepMark   step = "mark a socket"
	stepNested step = "make a user namespace for apps"
)

// finding is where a probe failed.
type finding struct {
	Step  step
	Errno syscall.Errno
	Text  string
	// Sysctl says that it was a write below /proc/sys that failed.
	Sysctl bool
}

// surroundings are what an errno alone does not tell.
type surroundings struct {
	uid     int
	seccomp bool // a filter is on
	// settings below /proc/sys; -1: there is no such setting.
	maxUser, maxNet, unprivilegedClone, apparmorRestrict int
}

// blame names the cause of a failed probe and its cure.
func blame(f finding, s surroundings) Verdict {
	var cause, cure string
	switch {
	case f.Step == stepClone || f.Step == stepNested:
		cause, cure = blameClone(f, s)
	case f.Errno == unix.EROFS && f.Sysctl:
		cause, cure = "/proc/sys is mounted read-only, as in a container", "run the container with --security-opt systempaths=unconfined (docker), or --privileged"
	case f.Step == stepProc && f.Errno == unix.EPERM:
		cause, cure = "parts of /proc are masked, as in a container, so that no other /proc may be mounted", "run the container with --security-opt systempaths=unconfined (docker), or --privileged"
	case (f.Errno == unix.EPERM || f.Errno == unix.EACCES) && s.apparmorRestrict == 1:
		cause, cure = "AppArmor takes all rights from user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)", "run it with sudo; or give this program an AppArmor profile with `userns,`; or, for all programs, sysctl kernel.apparmor_restrict_unprivileged_userns=0"
	case f.Errno == unix.EPERM || f.Errno == unix.EACCES:
		cause, cure = "a security policy forbids it (container profile, AppArmor or SELinux)", "run it with sudo; in a container, with --privileged"
	case f.Errno == unix.EOPNOTSUPP || f.Errno == unix.ENOENT || f.Errno == unix.EAFNOSUPPORT || f.Errno == unix.EPROTONOSUPPORT:
		cause, cure = "the kernel lacks a module for it", "as root: modprobe -a bridge veth nf_tables nft_redir nft_nat nft_reject_inet; Linux 5.2 at least"
	default:
		cause, cure = "an unforeseen error", "please report it, with the kernel's version (uname -r)"
	}
	return Verdict{Cause: fmt.Sprintf("%s failed (%s): %s", f.Step, f.Text, cause), Cure: cure}
}

func blameClone(f finding, s surroundings) (cause, cure string) {
	switch {
	case f.Errno == unix.ENOSPC && s.maxUser == 0:
		return "user namespaces are turned off (user.max_user_namespaces=0)", "sudo sysctl user.max_user_namespaces=10000, or run it with sudo"
	case f.Errno == unix.ENOSPC && s.maxNet == 0:
		return "network namespaces are turned off (user.max_net_namespaces=0)", "sudo sysctl user.max_net_namespaces=10000"
	case f.Errno == unix.ENOSPC:
		return "a limit on the number of namespaces is reached (sysctl user.max_*_namespaces)", "raise the limit, or stop what uses so many"
	case f.Errno == unix.EPERM && s.seccomp:
		return "a seccomp filter, as containers have, forbids it", "run the container with --privileged; or with --cap-add SYS_ADMIN,NET_ADMIN and seccomp, apparmor and systempaths unconfined"
	case f.Errno == unix.EPERM && s.unprivilegedClone == 0:
		return "user namespaces are for root only (kernel.unprivileged_userns_clone=0)", "sudo sysctl kernel.unprivileged_userns_clone=1, or run it with sudo"
	case f.Errno == unix.EPERM && s.apparmorRestrict == 1:
		return "AppArmor forbids user namespaces (kernel.apparmor_restrict_unprivileged_userns=1)", "run it with sudo; or give this program an AppArmor profile with `userns,`"
	case f.Errno == unix.EPERM && s.uid == 0:
		return "this is user 0 without the rights of root (CAP_SYS_ADMIN and CAP_NET_ADMIN, or CAP_SETFCAP for a user namespace)", "run it as a user other than 0, or give the container --privileged"
	case f.Errno == unix.EPERM:
		return "this user may not make user namespaces, or is in a chroot", "leave the chroot, or run it with sudo"
	case f.Errno == unix.EINVAL || f.Errno == unix.ENOSYS:
		return "the kernel was built without one of these namespaces", "use another kernel: CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS, CONFIG_UTS_NS, CONFIG_IPC_NS"
	}
	return "an unforeseen error", "please report it, with the kernel's version (uname -r)"
}
