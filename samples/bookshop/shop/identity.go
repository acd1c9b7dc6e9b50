package shop

import (
	"fmt"
	"net/http"
	"os"
)

// Identity is who an instance says it is. All fields must be set.
type Identity struct {
	Service string
	Version string
	Pod     string
}

// PodName is $POD_NAME where a manifest sets it, else the host name, which in a
// pod is the pod's name.
func PodName() (string, error) {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the pod's name: %w; set POD_NAME", err)
	}
	return name, nil
}

// answer starts an answer to a caller who came with the headers in.
func (id Identity) answer(in http.Header) Answer {
	return Answer{Service: id.Service, Version: id.Version, Pod: id.Pod, Peer: in.Get(HeaderPeer)}
}
