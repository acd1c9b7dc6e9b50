package ca

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// maxPods bounds what is read of a list of pods, in bytes.
const maxPods = 4 << 20

// control are the pages by which people see and steer a rotation:
//
//	GET  /debug/rotation            RotationStatus
//	POST /debug/rotation?do=DO      begin, pause, resume or rollback; 409 says why not
//	POST /debug/pods                ["UID", ...]: all pods that live, from a supervisor of local pods
//
// They answer this process's loopback alone, as the pilot's: in a cluster whoever
// may open a port-forward to the CA's pod, in a local mesh the mesh's own user.
//
// A change lives until ctx is done, not until its caller hears of it.
func (r *rotator) control(ctx context.Context, mux *http.ServeMux) {
	mux.Handle("GET /debug/rotation", loopback(r.serveStatus))
	mux.Handle("POST /debug/rotation", loopback(func(w http.ResponseWriter, req *http.Request) {
		if err := r.command(ctx, req.URL.Query().Get("do")); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		r.serveStatus(w, req)
	}))
	if !r.opts.Kube { // else the API server says which pods live
		mux.Handle("POST /debug/pods", loopback(r.servePods))
	}
}

// loopback refuses who is not of this machine, or pod.
func loopback(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host, _, err := net.SplitHostPort(req.RemoteAddr)
		from, perr := netip.ParseAddr(host)
		if errors.Join(err, perr) != nil || !from.Unmap().IsLoopback() {
			http.Error(w, "only the pod's own loopback may ask: weft ca status and weft ca rotate go there", http.StatusForbidden)
			return
		}
		h(w, req)
	})
}

func (r *rotator) serveStatus(w http.ResponseWriter, _ *http.Request) {
	status, err := r.status(time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(status) // a client that is gone needs no answer
}

func (r *rotator) servePods(w http.ResponseWriter, req *http.Request) {
	var uids []string
	if err := json.NewDecoder(io.LimitReader(req.Body, maxPods)).Decode(&uids); err != nil {
		http.Error(w, "want a list of UIDs: "+err.Error(), http.StatusBadRequest)
		return
	}
	live := map[string]bool{}
	for _, uid := range uids {
		live[uid] = true
	}
	r.roster.keep(live)
	w.WriteHeader(http.StatusNoContent)
}
