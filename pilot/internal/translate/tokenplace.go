package translate

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/internal/model"
)

// namedIssuer is an issuer and its name among providers.
type namedIssuer struct {
	name string
	model.TokenIssuer
}

// tokenPlace is where a request may have a token: a header, a parameter or a
// cookie.
type tokenPlace struct{ kind, name string }

// samePlaces are places that the same issuers look in.
type samePlaces struct {
	places  []tokenPlace
	issuers []int
}

// placesOfIssuers parts the places by who looks there. A token must be right
// for one of those who look where it is: were issuers asked one by one, a right
// token in the place of one would let pass what is wrong in the place of
// another. Most often there is one part, the places of all.
func placesOfIssuers(issuers []namedIssuer) (out []samePlaces) {
	var order []tokenPlace
	who := map[tokenPlace][]int{}
	for n, in := range issuers {
		for _, p := range in.places() {
			if who[p] == nil {
				order = append(order, p)
			}
			who[p] = append(who[p], n)
		}
	}
	part := map[string]int{}
	for _, p := range order {
		key := fmt.Sprint(who[p])
		if _, ok := part[key]; !ok {
			part[key] = len(out)
			out = append(out, samePlaces{issuers: who[p]})
		}
		i := part[key]
		out[i].places = append(out[i].places, p)
	}
	return out
}

// places are where tokens of the issuer are, each once.
func (in namedIssuer) places() (out []tokenPlace) {
	add := func(p tokenPlace) {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	for _, h := range in.Headers {
		add(tokenPlace{"header", h.Name})
	}
	for _, name := range in.Params {
		add(tokenPlace{"param", name})
	}
	for _, name := range in.Cookies {
		add(tokenPlace{"cookie", name})
	}
	return out
}

// at is the issuer that looks in some of its places only.
func (in namedIssuer) at(places []tokenPlace) model.TokenIssuer {
	out := in.TokenIssuer
	out.Headers = slices.DeleteFunc(slices.Clone(in.Headers), func(h model.TokenHeader) bool { return !slices.Contains(places, tokenPlace{"header", h.Name}) })
	out.Params = slices.DeleteFunc(slices.Clone(in.Params), func(name string) bool { return !slices.Contains(places, tokenPlace{"param", name}) })
	out.Cookies = slices.DeleteFunc(slices.Clone(in.Cookies), func(name string) bool { return !slices.Contains(places, tokenPlace{"cookie", name}) })
	return out
}
