package shop

import (
	"net/http"
	"net/url"

	"github.com/weftmesh/weft/samples/bookshop/ratingspb"
)

// Details tells about the shop's only book. It asks nobody.
func Details(id Identity) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := id.answer(r.Header)
		out.Text = "The Comedy of Errors, by William Shakespeare, 1623"
		out.write(w, http.StatusOK)
	})
}

// Reviews tells what readers say of the book. With ratings nil (version v1) it
// asks nobody; else it adds the stars that ratings knows, and answers 503 when
// they cannot be had.
func Reviews(id Identity, ratings ratingspb.RatingsClient) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, status := id.answer(r.Header), http.StatusOK
		out.Text = "Short and confusing, twice."
		if ratings != nil {
			part, err := askRatings(r, ratings)
			out.Stars, out.Parts = part.Stars, []Answer{part}
			if err != nil {
				out.Error, status = err.Error(), http.StatusServiceUnavailable
			}
		}
		out.write(w, status)
	})
}

// Frontend is the shop's page: it asks details and reviews at the same time.
// Where one of them fails it answers with the worst status it was given, so
// that a caller sees each failure.
func Frontend(id Identity, client *http.Client, details, reviews *url.URL) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := askAll(r, client, details, reviews)
		out, status := id.answer(r.Header), http.StatusOK
		for _, p := range parts {
			out.Parts = append(out.Parts, p.answer)
			if p.status > status {
				status, out.Error = p.status, p.answer.Error
			}
		}
		out.write(w, status)
	})
}
