package main

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Pod is what one pod's processes hold.
type Pod struct {
	UID       string
	Processes []Process
}

// Process is one of a pod. Sizes are in KiB: what it holds now, what of it is
// its own, and the most that it ever held.
type Process struct {
	PID             int
	Name            string
	RSS, Anon, Peak int
	// Ports are PROTOCOL ADDRESS:PORT of what it listens on.
	Ports []string
}

var podOf = regexp.MustCompile(`/pod([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/`)

// look walks the processes of a node, whose cgroups name their pods.
func look(proc string) ([]*Pod, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	pods := map[string]*Pod{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup")) // one that has ended is none
		found := podOf.FindSubmatch(groups)
		if found == nil {
			continue
		}
		p := pods[string(found[1])]
		if p == nil {
			p = &Pod{UID: string(found[1])}
			pods[p.UID] = p
		}
		process, ok := processOf(dir, pid)
		if !ok {
			continue
		}
		open, err := listening(filepath.Join(dir, "net"))
		if err != nil {
			return nil, fmt.Errorf("pod %s: %w", p.UID, err)
		}
		process.Ports = own(dir, open)
		p.Processes = append(p.Processes, process)
	}
	out := make([]*Pod, 0, len(pods))
	for _, p := range pods {
		out = append(out, p)
	}
	return out, nil
}

// processOf reads /proc/PID/status; false: it has ended.
func processOf(dir string, pid int) (p Process, ok bool) {
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, false
	}
	p.PID = pid
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB"))
		number, _ := strconv.Atoi(value) // 0 for what is no number
		switch key {
		case "Name":
			p.Name = value
		case "VmRSS":
			p.RSS = number
		case "RssAnon":
			p.Anon = number
		case "VmHWM":
			p.Peak = number
		}
	}
	return p, true
}

// Socket states of /proc/net. Source: Linux, include/net/tcp_states.h; a UDP
// socket without a peer is in the second.
const (
	tcpListen = "0A"
	udpOpen   = "07"
)

// listening are the sockets of a network that wait for others, by inode.
func listening(dir string) (map[string]string, error) {
	out := map[string]string{}
	for name, state := range map[string]string{"tcp": tcpListen, "tcp6": tcpListen, "udp": udpOpen, "udp6": udpOpen} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if os.IsNotExist(err) {
			continue // no IPv6, or the process has ended
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			field := strings.Fields(line)
			if len(field) < 10 || field[3] != state {
				continue
			}
			at, err := address(field[1])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out[field[9]] = strings.TrimSuffix(name, "6") + " " + at.String()
		}
	}
	return out, nil
}

// own are those of the sockets that a process has open.
func own(dir string, open map[string]string) (out []string) {
	files, _ := os.ReadDir(filepath.Join(dir, "fd")) // one that has ended has none
	for _, f := range files {
		target, _ := os.Readlink(filepath.Join(dir, "fd", f.Name()))
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if at, ok := open[strings.TrimSuffix(inode, "]")]; isSocket && ok {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// address reads HEX:HEX, whose words are in the machine's order: little endian
// here.
func address(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("address %q", text)
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	ip, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q", text)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), nil
}
