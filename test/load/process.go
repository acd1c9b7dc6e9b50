package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is the pilot under measurement.
type process struct {
	cmd     *exec.Cmd
	address string
}

// startPilot starts the pilot on dir and waits until it has read it.
func startPilot(ctx context.Context, o options, dir string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if o.monitoring == "" {
		if o.monitoring, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	p := &process{address: address, cmd: exec.CommandContext(ctx, o.pilot, "--config="+dir, "--insecure-xds="+address, "--monitoring="+o.monitoring, "--ready=")}
	var log bytes.Buffer
	p.cmd.Stdout, p.cmd.Stderr = io.Discard, &log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (make build makes it)", o.pilot, err)
	}
	for deadline := time.Now().Add(o.timeout); time.Now().Before(deadline); rest(ctx, 5*time.Millisecond) {
		if isReady(ctx, o.monitoring) {
			return p, nil
		}
	}
	p.stop()
	return nil, fmt.Errorf("the pilot was not ready after %v; it said:\n%s", o.timeout, log.String())
}

// freeAddress is a port of loopback that nobody uses now.
func freeAddress() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer lis.Close()
	return lis.Addr().String(), nil
}

func isReady(ctx context.Context, monitoring string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+monitoring+"/ready", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// usage is what a process has used: CPU seconds, and memory in MB.
type usage struct{ cpu, rss, anon float64 }

// cpuSeconds is the time that the threads of a process ran, in the
// nanoseconds that the scheduler counts: /proc/PID/stat counts in ticks of
// 10 ms, as long as one change may take.
func cpuSeconds(pid int) (seconds float64) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		ran, _, _ := strings.Cut(string(text), " ")
		ns, _ := strconv.ParseFloat(ran, 64)
		seconds += ns / 1e9
	}
	return seconds
}

func (p *process) usage() (u usage) {
	u.cpu = cpuSeconds(p.cmd.Process.Pid)
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		name, rest, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		switch name {
		case "VmRSS":
			u.rss = kb * 1024 / 1e6
		case "RssAnon":
			u.anon = kb * 1024 / 1e6
		}
	}
	return u
}
