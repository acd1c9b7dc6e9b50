package local

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestBlame goes through the refusals that a test cannot bring about on every
// machine.
func TestBlame(t *testing.T) {
	none := surroundings{uid: 1000, maxUser: 1000, maxNet: 1000, unprivilegedClone: -1, apparmorRestrict: -1}
	with := func(change func(*surroundings)) surroundings { s := none; change(&s); return s }
	for _, c := range []struct {
		what        string
		finding     finding
		in          surroundings
		cause, cure string
	}{
		{"container", finding{Step: stepClone, Errno: unix.EPERM}, with(func(s *surroundings) { s.seccomp = true }), "seccomp", "--privileged"},
		{"debian", finding{Step: stepClone, Errno: unix.EPERM}, with(func(s *surroundings) { s.unprivilegedClone = 0 }), "kernel.unprivileged_userns_clone=0", "sysctl kernel.unprivileged_userns_clone=1"},
		{"ubuntu, at once", finding{Step: stepClone, Errno: unix.EPERM}, with(func(s *surroundings) { s.apparmorRestrict = 1 }), "AppArmor", "sudo"},
		{"ubuntu, later", finding{Step: stepMount, Errno: unix.EACCES}, with(func(s *surroundings) { s.apparmorRestrict = 1 }), "AppArmor", "userns,"},
		{"stripped root", finding{Step: stepClone, Errno: unix.EPERM}, with(func(s *surroundings) { s.uid = 0 }), "user 0 without the rights", "other than 0"},
		{"chroot", finding{Step: stepClone, Errno: unix.EPERM}, none, "chroot", "sudo"},
		{"limit", finding{Step: stepClone, Errno: unix.ENOSPC}, none, "limit", "raise"},
		{"old kernel", finding{Step: stepClone, Errno: unix.EINVAL}, none, "built without", "CONFIG_USER_NS"},
		{"read-only sysctls", finding{Step: stepBridge, Errno: unix.EROFS, Sysctl: true}, none, "read-only", "systempaths"},
		{"no bridge", finding{Step: stepBridge, Errno: unix.EOPNOTSUPP}, none, "module", "modprobe"},
		{"no nftables", finding{Step: stepNft, Errno: unix.ENOENT}, none, "module", "nft_redir"},
		{"policy", finding{Step: stepNft, Errno: unix.EPERM}, none, "security policy", "sudo"},
		{"apps", finding{Step: stepNested, Errno: unix.EPERM}, with(func(s *surroundings) { s.seccomp = true }), "seccomp", "--privileged"},
		{"unknown", finding{Step: stepMark, Errno: unix.EIO}, none, "unforeseen", "uname -r"},
	} {
		got := blame(c.finding, c.in)
		if got.Mode != "" || !strings.Contains(got.Cause, c.cause) || !strings.Contains(got.Cure, c.cure) || !strings.Contains(got.Cause, string(c.finding.Step)) {
			t.Errorf("%s: %+v; want %q, %q", c.what, got, c.cause, c.cure)
		}
	}
}
