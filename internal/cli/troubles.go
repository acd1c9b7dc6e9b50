package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/controller"
)

// troubleLines are what is wrong, one line each, in an order that does not
// change: errors before warnings, what cannot run before what is badly written.
// What is only worth knowing is left to weft analyze.
func troubleLines(t controller.Troubles) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(t.Problems)) {
		out = append(out, fmt.Sprintf("error Deployment %s: %s", key, t.Problems[key]))
	}
	for _, port := range slices.Sorted(maps.Keys(t.Unpublished)) {
		out = append(out, "error "+t.Unpublished[port])
	}
	found := slices.Clone(t.Findings)
	diag.Sort(found)
	for _, d := range found {
		if d.Severity != diag.Info {
			out = append(out, findingLine(d))
		}
	}
	return out
}

// findingLine is a finding as it is printed: a file below the working
// directory by its short name.
func findingLine(d diag.Diagnostic) string {
	if dir, err := os.Getwd(); err == nil {
		if short, err := filepath.Rel(dir, d.Object.File); err == nil && !strings.HasPrefix(short, "..") {
			d.Message = strings.ReplaceAll(d.Message, d.Object.File, short)
			if d.Object.Name == d.Object.File {
				d.Object.Name = short
			}
			d.Object.File = short
		}
	}
	return d.String()
}

// change compares what was said with what is the case: lines that are new, and
// lines that hold no more.
func change(said, now []string) (fresh, gone []string) {
	for _, l := range now {
		if !slices.Contains(said, l) {
			fresh = append(fresh, l)
		}
	}
	for _, l := range said {
		if !slices.Contains(now, l) {
			gone = append(gone, l)
		}
	}
	return fresh, gone
}

// troublesEvery is how often a mesh in the foreground is asked what is wrong. A
// state is believed when it is seen twice in a row: what lies between two files
// of one edit is not worth a line.
const troublesEvery = 200 * time.Millisecond

// watchTroubles says what a saved file breaks, and when it is in order again;
// said are the lines that the user has seen.
func (a *app) watchTroubles(ctx context.Context, name string, said []string) {
	tick := time.NewTicker(troublesEvery)
	defer tick.Stop()
	before := said
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := troubles(ctx, name)
		if err != nil {
			continue
		}
		if slices.Equal(now, before) {
			a.sayChange(said, now)
			said = now
		}
		before = now
	}
}

func (a *app) sayChange(said, now []string) {
	fresh, gone := change(said, now)
	for _, l := range fresh {
		fmt.Fprintln(a.err, l)
	}
	if len(gone) > 0 && len(now) == 0 {
		fmt.Fprintln(a.err, "all in order again")
	}
}

func troubles(ctx context.Context, name string) ([]string, error) {
	c, err := local.Connect(name)
	if err != nil {
		return nil, err
	}
	text, err := fetch(ctx, c, "/v1/troubles")
	if err != nil {
		return nil, err
	}
	var t controller.Troubles
	err = json.Unmarshal(text, &t)
	return troubleLines(t), err
}
