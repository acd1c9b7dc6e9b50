package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// momentEvery is how often a watcher looks, and so how exact its answer is.
const momentEvery = 20 * time.Millisecond

// withdrawn prints when the Envoy of this pod takes the endpoint at address for
// healthy no more. It must be at first.
func withdrawn(address string) error {
	seen := false
	tick := time.NewTicker(momentEvery)
	for range tick.C {
		now := time.Now()
		healthy, err := takes(address)
		switch {
		case err != nil:
			return err
		case healthy && !seen:
			seen = true
			fmt.Println("seen")
		case !healthy && seen:
			fmt.Println(now.Format(time.RFC3339Nano))
			return nil
		}
	}
	return nil
}

// takes reads Envoy's page of clusters: CLUSTER::IP:PORT::health_flags::healthy.
func takes(address string) (bool, error) {
	response, err := http.Get("http://127.0.0.1:15000/clusters")
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "outbound|") && strings.HasSuffix(lines.Text(), "::"+address+"::health_flags::healthy") {
			return true, nil
		}
	}
	return false, lines.Err()
}

// refused prints when a request for url, on a connection of its own, is no more
// answered well. The first one must be. One that is not answered in time tells
// nothing, since the machine may have stood still; two of them are an error.
func refused(url string) error {
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if _, err := send(c, url); err != nil {
		return err
	}
	fmt.Println("seen")
	tick, late := time.NewTicker(momentEvery), 0
	for range tick.C {
		now := time.Now()
		_, err := send(c, url)
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout():
			if late++; late == 2 {
				return err
			}
		default:
			fmt.Println(now.Format(time.RFC3339Nano), err)
			return nil
		}
	}
	return nil
}
