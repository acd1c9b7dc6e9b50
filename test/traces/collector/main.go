// Command collector gets spans by OTLP over gRPC at port 4317, and shows all of
// them as JSON at /spans there.
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/weftmesh/weft/test/traces"
)

// maxExport bounds one call, in bytes.
const maxExport = 16 << 20

// collected are the spans so far.
type collected struct {
	mu  sync.Mutex
	all []traces.Span
}

func main() {
	c := &collected{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+traces.ExportPath, c.take)
	mux.HandleFunc("GET /spans", c.show)
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Addr: ":4317", Handler: mux, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func (c *collected) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxExport))
	spans, wrong := traces.Read(r.Header.Get("Content-Type"), body)
	if err != nil || wrong != nil {
		log.Print(err, wrong)
		panic(http.ErrAbortHandler)
	}
	c.mu.Lock()
	c.all = append(c.all, spans...)
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
	_, _ = w.Write(make([]byte, 5)) // an empty answer in gRPC's frame
}

func (c *collected) show(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = json.NewEncoder(w).Encode(c.all)
}
