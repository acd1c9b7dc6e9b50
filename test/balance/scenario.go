package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// load is how requests are sent in one turn.
type load struct {
	rate   float64 // requests a second
	grpc   bool
	length time.Duration
}

// scenario is hosts of which the last may be unlike the others.
type scenario struct {
	name  string
	hosts int
	last  manner
	// added: the last host joins when the counted part of a turn begins.
	added bool
	// perTry is a time-out of one try, with two retries; "" is neither.
	perTry string
}

var scenarios = []scenario{
	{name: "3 equal hosts", hosts: 3},
	{name: "10 equal hosts", hosts: 10},
	{name: "3 hosts, one 10 times slower", hosts: 3, last: slow},
	{name: "10 hosts, one 10 times slower", hosts: 10, last: slow},
	{name: "3 hosts, one answers 503 at once", hosts: 3, last: fails},
	{name: "10 hosts, one answers 503 at once", hosts: 10, last: fails},
	{name: "11 hosts, one stalls for 2 s, no retries", hosts: 11, last: stalls},
	{name: "11 hosts, one stalls for 2 s, retries", hosts: 11, last: stalls, perTry: "250ms"},
	{name: "2 hosts, a third is added", hosts: 3, added: true},
}

// result is all turns of one policy.
type result struct {
	policy string
	turns  []turn
}

// run plays rounds of a scenario: in each every policy of among has one turn, in an
// order of chance, so that what else the machine does falls on all alike.
func (s scenario) run(ctx context.Context, l load, rounds int, among []policy) ([]result, error) {
	r, err := startRig(ctx, s.hosts, s.perTry)
	if err != nil {
		return nil, err
	}
	defer r.close()
	r.hosts[s.hosts-1].is(s.last)
	out := make([]result, len(among))
	for i, p := range among {
		out[i].policy = p.name
	}
	for range rounds {
		for _, i := range rand.Perm(len(among)) {
			t, err := s.turn(ctx, r, among[i], l)
			if err != nil {
				return nil, err
			}
			out[i].turns = append(out[i].turns, t)
		}
	}
	return out, nil
}

// turn sends one policy's requests. The first part of it, in which connections
// are opened and weights are learnt, does not count.
func (s scenario) turn(ctx context.Context, r *rig, p policy, l load) (turn, error) {
	warm := time.Second
	if !s.added {
		return r.client.send(ctx, p.service, l, warm), ctx.Err()
	}
	if err := r.endpoints(p, s.hosts-1); err != nil {
		return turn{}, err
	}
	before := l
	before.length = 0
	r.client.send(ctx, p.service, before, warm)
	if err := r.endpoints(p, s.hosts); err != nil {
		return turn{}, err
	}
	return r.client.send(ctx, p.service, l, 0), ctx.Err()
}
