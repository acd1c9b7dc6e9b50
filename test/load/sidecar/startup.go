package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/test/weftcli"
)

// startUp are the figures of a whole mesh's start.
type startUp struct {
	up       time.Duration // of weft up
	pods     int
	sidecars []sidecar
}

// sidecar is a pod's proxy.
type sidecar struct {
	ready        float64 // seconds from the agent's start
	agent, envoy memory
}

func measureStart(ctx context.Context, o options) (s startUp, err error) {
	began := time.Now()
	m, stop, err := start(ctx, o, o.bookshop)
	if err != nil {
		return s, err
	}
	s.up = time.Since(began)
	defer func() { err = errors.Join(err, stop()) }()
	pods, err := m.Pods(ctx)
	if err != nil {
		return s, err
	}
	s.pods = len(pods)
	for _, p := range pods {
		if p.Synced == "" {
			continue // without a proxy
		}
		one, err := measureSidecar(ctx, m, p)
		if err != nil {
			return s, fmt.Errorf("%s: %w", p.Name, err)
		}
		s.sidecars = append(s.sidecars, one)
	}
	if len(s.sidecars) == 0 {
		return s, fmt.Errorf("%s has no pod with a proxy", o.bookshop)
	}
	return s, nil
}

func measureSidecar(ctx context.Context, m *weftcli.Mesh, p weftcli.Pod) (s sidecar, err error) {
	agent, err := find("agent", "POD_NAME="+p.Name)
	if err != nil {
		return s, err
	}
	envoy, err := find("envoy", "WEFT_POD="+p.Name)
	if err != nil {
		return s, err
	}
	if s.agent, err = agent.memory(); err != nil {
		return s, err
	}
	if s.envoy, err = envoy.memory(); err != nil {
		return s, err
	}
	page, err := m.Exec(ctx, p.Namespace+"/"+p.Name, "curl", "-sf", "127.0.0.1:15020/stats/prometheus")
	if err != nil {
		return s, err
	}
	s.ready, err = gauge(page, "istio_agent_startup_duration_seconds")
	return s, err
}

// gauge reads a metric without labels.
func gauge(page []byte, name string) (float64, error) {
	lines := bufio.NewScanner(bytes.NewReader(page))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.Join(lines.Err(), fmt.Errorf("no metric %s", name))
}
