package pod

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain also is the inside of a mount namespace: this binary with the name of
// a way to lay files over /etc.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && layers[os.Args[1]] != nil {
		if err := layEtc(layers[os.Args[1]]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var layers = map[string]func(c *config) error{
	"overlay": mountEtc,
	"bind": func(c *config) error {
		if err := Tmpfs(c.MeshDir, "0755"); err != nil {
			return err
		}
		return bindEtc(c.MeshDir, etcFiles(c.Spec))
	},
}

func layEtc(lay func(c *config) error) error {
	if err := Private(); err != nil {
		return err
	}
	c := &config{MeshDir: "/mnt", Identity: Identity{Rootless: os.Getenv("ROOTLESS") != ""}}
	c.Spec = Spec{Name: "web-1", Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.9")}}
	if err := lay(c); err != nil {
		return err
	}
	for _, name := range []string{"hosts", "hostname", "passwd"} {
		text, err := os.ReadFile("/etc/" + name)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s", name, text)
	}
	return nil
}

// TestEtc: by overlay and by binds, the pod's files are there, the machine's
// others too, and the machine's own do not change.
func TestEtc(t *testing.T) {
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	for how := range layers {
		cmd := exec.Command("/proc/self/exe", how)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		cmd.Env = []string{"ROOTLESS=1"}
		out, err := cmd.CombinedOutput()
		text := string(out)
		if err != nil || !strings.Contains(text, "10.244.0.9\tweb-1\n") || !strings.Contains(text, "hostname: web-1\n") || !strings.Contains(text, "passwd: root:") {
			t.Errorf("%s: %v: %s", how, err, out)
		}
	}
	if after, err := os.ReadFile("/etc/hosts"); err != nil || string(after) != string(before) {
		t.Errorf("the machine's /etc/hosts changed: %q, %v", after, err)
	}
}
