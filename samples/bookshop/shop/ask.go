package shop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"

	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// maxAnswer bounds what is read of another service's answer, in bytes.
const maxAnswer = 1 << 20

// part is what one service answered to the frontend.
type part struct {
	answer Answer
	status int // HTTP; 502 where there was no answer at all
}

// askAll asks all URLs at once on behalf of r and returns their parts in order.
func askAll(r *http.Request, client *http.Client, urls ...*url.URL) []part {
	parts := make([]part, len(urls))
	var wg sync.WaitGroup
	for i, u := range urls {
		wg.Go(func() { parts[i] = ask(r, client, u) })
	}
	wg.Wait()
	return parts
}

// ask sends one request on behalf of r.
func ask(r *http.Request, client *http.Client, u *url.URL) part {
	failed := func(err error) part {
		text := fmt.Sprintf("ask %s: %v", u, err)
		return part{Answer{Service: u.Hostname(), Error: text}, http.StatusBadGateway}
	}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, u.String(), nil)
	if err != nil {
		return failed(err)
	}
	forward(r.Header, req.Header)
	res, err := client.Do(req)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return failed(err)
	}
	out := part{status: res.StatusCode}
	if err := json.Unmarshal(body, &out.answer); err != nil {
		// Not a service of the shop but a proxy on the way: pass its words on.
		out.answer = Answer{Service: u.Hostname(), Error: fmt.Sprintf("%s: %.200s", res.Status, body)}
	}
	return out
}

// askRatings asks for the stars over gRPC on behalf of r.
func askRatings(r *http.Request, ratings ratingspb.RatingsClient) (Answer, error) {
	ctx := metadata.NewOutgoingContext(r.Context(), forwardMetadata(r.Header))
	got, err := ratings.Get(ctx, &ratingspb.GetRequest{})
	if err != nil {
		err = fmt.Errorf("ask ratings: %w", err)
		return Answer{Service: "ratings", Error: err.Error()}, err
	}
	return Answer{
		Service: "ratings", Version: got.GetVersion(), Pod: got.GetPod(), Peer: got.GetPeer(), Stars: got.GetStars(),
	}, nil
}
