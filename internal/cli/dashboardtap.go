package cli

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/weftmesh/weft/internal/dashboard"
)

// notices are what weft tap says beside what it shows, as lines {"notice": "..."}.
type notices struct{ to io.Writer }

func (n notices) Write(text []byte) (int, error) {
	line, err := json.Marshal(map[string]string{"notice": strings.TrimSpace(string(text))})
	if err == nil {
		_, err = n.to.Write(append(line, '\n'))
	}
	return len(text), err
}

// tap is weft tap for the page.
func (m *shownMesh) tap(ctx context.Context, of dashboard.Tapped, to io.Writer) (err error) {
	page := *m.app
	page.output, page.out, page.err = "json", to, notices{to}
	t := &tapping{a: &page, refresh: tapRefresh, filter: of.Filter}
	if t.reach, err = page.reach(&m.from.kube, of.Namespace); err != nil {
		return err
	}
	kind := kindsOfNames[of.Kind]
	if kind == "" {
		kind = kindPod
	}
	if t.wanted, err = t.reach.choose(ctx, kind+"/"+of.Name, of.Namespace); err != nil {
		return err
	}
	return t.run(ctx)
}
