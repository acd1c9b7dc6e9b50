package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// loadAverage is how many processes wanted a CPU in the last minute: with
// others at work beside the measurement, its p99 is also theirs.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// machine is how many clock ticks of all CPUs were at work, and all of them.
func machine() (busy, all float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(first)[1:] {
		ticks, _ := strconv.ParseFloat(field, 64)
		if all += ticks; i != 3 && i != 4 { // idle, iowait
			busy += ticks
		}
	}
	return busy, all
}

// process is the agent or the Envoy of a pod, by its process id on the host.
type process int

// find returns the process called name whose environment has variable.
func find(name, variable string) (process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		comm, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil || strings.TrimSpace(string(comm)) != name {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err == nil && bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+variable+"\x00")) {
			pid, err := strconv.Atoi(filepath.Base(dir))
			return process(pid), err
		}
	}
	return 0, fmt.Errorf("no process %s with %s in its environment", name, variable)
}

// cpu is what the process has used, in seconds.
func (p process) cpu() (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+2:]))
	const ticks = 100 // a second, on every Linux that Go runs on
	var sum float64
	for _, f := range fields[11:13] { // utime, stime
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, err
		}
		sum += v / ticks
	}
	return sum, nil
}

// memory of a process, in MB (a million bytes). Proportional counts a page that
// n processes share as a page's n-th.
type memory struct{ RSS, Anonymous, Proportional float64 }

func (p process) memory() (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		kB, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		switch mb := kB * 1024 / 1e6; name {
		case "Rss":
			m.RSS = mb
		case "Pss":
			m.Proportional = mb
		case "Anonymous":
			m.Anonymous = mb
		}
	}
	return m, nil
}
