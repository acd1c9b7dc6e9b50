package cli

import (
	"context"
	"io"

	"github.com/weftmesh/weft/internal/dashboard"
)

// tap is weft tap for the page.
func (m *shownMesh) tap(ctx context.Context, of dashboard.Tapped, to io.Writer) (err error) {
	page := *m.app
	page.output, page.out, page.err = "json", to, io.Discard
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
