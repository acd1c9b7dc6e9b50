package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// caPage is a page of the CA, on its pod's loopback.
func caPage(path string) string { return "http://127.0.0.1:15014" + path }

// serveRotation passes GET and POST /v1/ca/rotation on to the CA, which says how
// the root's rotation stands and takes commands about it. Its own answers, also
// those that say why not, go back as they are.
func (c *Controller) serveRotation(w http.ResponseWriter, req *http.Request) {
	if err := c.tellPods(req.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	code, text, err := c.askCA(req.Context(), req.Method, "/debug/rotation?"+req.URL.RawQuery, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(code)
	_, _ = w.Write(text) // a client that is gone needs no answer
}

func (c *Controller) askCA(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	ca := c.runner(SystemNamespace + "/" + caName)
	if ca == nil || ca.running() == nil {
		return 0, nil, fmt.Errorf("the CA is not running; weft logs %s says why", caName)
	}
	req, err := http.NewRequestWithContext(ctx, method, caPage(path), bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	resp, err := clientOf(ca.running()).Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("the CA does not answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, text, err
}

// followPods tells the CA from time to time which pods live, until ctx is done,
// so that it waits for none that was killed.
func (c *Controller) followPods(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.tellPods(ctx); err != nil && ctx.Err() == nil {
			c.log.Debug("the CA does not know which pods live; will try again", "error", err)
		}
	}
}

func (c *Controller) tellPods(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reportEvery)
	defer cancel()
	var uids []string
	for _, r := range c.all() {
		uids = append(uids, string(r.spec.UID))
	}
	body, err := json.Marshal(uids)
	if err != nil {
		return err
	}
	code, text, err := c.askCA(ctx, http.MethodPost, "/debug/pods", body)
	if err == nil && code != http.StatusNoContent {
		err = fmt.Errorf("the CA: %s", text)
	}
	return err
}
