package cli

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed machine.sh.tmpl
var machineScript string

// joining is what a process outside of the cluster joins with.
type joining struct {
	Entry, Namespace, Account, Address, Group string
	Labels                                    string     // a JSON object
	Probe                                     string     // of the group, a JSON object; "": none
	Pilot, CA                                 string     // HOST:PORT
	System                                    string     // namespace of the control plane
	Variables                                 []variable // of the agent, by ProxyConfigs
	Arguments                                 []string   // of the agent, by ProxyConfigs
	Unread                                    string     // what of them may not be read, and why

	roots     []byte
	token     string
	tokenEnds time.Time
}

// startScript is the name of what the machine runs.
const startScript = "start.sh"

// write makes the folder.
func (m *joining) write(dir string) error {
	script, err := m.script()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := m.renew(dir); err != nil {
		return err
	}
	return replace(filepath.Join(dir, startScript), script, 0o755)
}

// renew replaces token and roots as a whole, since an agent may be reading them.
func (m *joining) renew(dir string) error {
	for _, f := range []struct {
		name string
		text []byte
		mode os.FileMode
	}{{"token", []byte(m.token), 0o600}, {"root-cert.pem", m.roots, 0o644}} {
		if err := replace(filepath.Join(dir, f.name), f.text, f.mode); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

func replace(name string, text []byte, mode os.FileMode) error {
	next, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(next.Name()) }() // it is gone when all went well
	if _, err = next.Write(text); err == nil {
		err = next.Chmod(mode)
	}
	if e := next.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(next.Name(), name)
}

// script is start.sh: every value is quoted for the shell.
func (m *joining) script() ([]byte, error) {
	t, err := template.New("start.sh").Funcs(template.FuncMap{"quote": shellQuote}).Parse(machineScript)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	err = t.Execute(&out, m)
	return []byte(out.String()), err
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
