package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	cgroups = "/sys/fs/cgroup"
	// agentMemory is what the agent, which shares the container, and what Envoy
	// holds beside its heap may need.
	agentMemory = 48 << 20
	// leastHeap is what an Envoy with a small mesh in sight needs: a bound below
	// would refuse requests that the container has room for.
	leastHeap = 64 << 20
)

// heapLimit is how much heap Envoy may have in a container with a limit on its
// memory, in bytes, so that it refuses requests before the kernel kills it; 0
// where there is no limit, or too small a one to share.
func heapLimit(root string) int64 {
	limit := memoryLimit(root)
	if heap := limit - max(agentMemory, limit/16); limit > 0 && heap >= leastHeap {
		return heap
	}
	return 0
}

// memoryLimit is that of the process's own control group, of version 2 or 1 as
// a container sees them; 0: none. Source: Linux, Documentation/admin-guide,
// cgroup-v2.rst and cgroup-v1/memory.rst.
func memoryLimit(root string) int64 {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || limit >= 1<<60 { // "max", or version 1's way to say so
			return 0
		}
		return limit
	}
	return 0
}
