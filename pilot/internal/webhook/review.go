package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/admission"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// Check says what is wrong with an object that is to be stored: own is wrong
// whatever else there is, other depends on the objects that there are now.
type Check func(*config.Object) (own, other []diag.Diagnostic)

// maxElements bounds the elements of JSON of a review: a VirtualService of a
// thousand routes has some ten thousand, and its old form comes with it.
const maxElements = 25_000

// NewHandler makes the http.Handler at /validate. metrics may be nil.
func NewHandler(check Check, metrics prometheus.Registerer, log *slog.Logger) *admission.Handler {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weft_pilot_validations_total", Help: "Requests of the API server to validate an object, and others, by what came of them."}, []string{"result"})
	took := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "weft_pilot_validation_seconds", Help: "From a request's last byte to its answer.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1}})
	if metrics != nil {
		metrics.MustRegister(total, took)
	}
	v := &validator{check: check, log: log}
	return admission.NewHandler(v.decide, maxElements, total, took, log)
}

type validator struct {
	check Check
	log   *slog.Logger
}

// decide about one object. What the rules of the webhook do not send is let
// through.
func (v *validator) decide(q *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, string) {
	if q.SubResource != "" || q.Operation != admissionv1.Create && q.Operation != admissionv1.Update {
		return allowed(nil), "ignored"
	}
	if q.Operation == admissionv1.Update && unchanged(q) {
		return allowed(nil), "unchanged"
	}
	o, found := config.DecodeJSON(named(q))
	var warnings []diag.Diagnostic
	if o != nil {
		own, other := v.check(o)
		found, warnings = append(found, own...), other
	}
	refused, more := split(found)
	if len(refused) == 0 {
		return allowed(append(more, warnings...)), "allowed"
	}
	v.log.Info("an object is refused", "kind", q.Kind.Kind, "namespace", q.Namespace, "name", q.Name, "by", q.UserInfo.Username, "because", refused[0].Brief())
	return refuse(refused), "refused"
}

func split(found []diag.Diagnostic) (errors, others []diag.Diagnostic) {
	for _, d := range found {
		if d.Severity == diag.Error {
			errors = append(errors, d)
		} else {
			others = append(others, d)
		}
	}
	return errors, others
}

// stored is what is compared of an object's two states.
type stored struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     json.RawMessage   `json:"spec"`
}

// unchanged reports whether an update leaves alone what the object asks for, or
// is a step of its deletion: who labels an object, or ends it, must not be held
// up by a mistake that was stored before.
func unchanged(q *admissionv1.AdmissionRequest) bool {
	var before, now stored
	if json.Unmarshal(q.OldObject.Raw, &before) != nil || json.Unmarshal(q.Object.Raw, &now) != nil {
		return false
	}
	return now.Metadata.DeletionTimestamp != nil || bytes.Equal(before.Spec, now.Spec)
}

// named is the object with the name that it will have: one that is made with
// generateName has none yet.
func named(q *admissionv1.AdmissionRequest) []byte {
	var o map[string]json.RawMessage
	var m map[string]any
	if json.Unmarshal(q.Object.Raw, &o) != nil || json.Unmarshal(o["metadata"], &m) != nil || m == nil {
		return q.Object.Raw
	}
	name, _ := m["name"].(string)
	generate, _ := m["generateName"].(string)
	if name != "" || generate == "" {
		return q.Object.Raw
	}
	m["name"] = generate + "new"
	metadata, err := json.Marshal(m)
	if err != nil {
		return q.Object.Raw
	}
	o["metadata"] = metadata
	raw, err := json.Marshal(o)
	if err != nil {
		return q.Object.Raw
	}
	return raw
}

// maxTold bounds the findings of an answer; the API server cuts warnings of
// more than 4 KiB in all.
const maxTold = 12

func allowed(found []diag.Diagnostic) *admissionv1.AdmissionResponse {
	out := &admissionv1.AdmissionResponse{Allowed: true}
	for i, d := range found {
		if i == maxTold {
			out.Warnings = append(out.Warnings, fmt.Sprintf("and %d more; weft analyze shows all", len(found)-i))
			break
		}
		out.Warnings = append(out.Warnings, d.Brief())
	}
	return out
}

// refuse answers with every mistake, as causes with field paths too.
func refuse(found []diag.Diagnostic) *admissionv1.AdmissionResponse {
	lines := make([]string, 0, len(found))
	var causes []metav1.StatusCause
	for i, d := range found {
		if i == maxTold {
			lines = append(lines, fmt.Sprintf("and %d more", len(found)-i))
			break
		}
		lines = append(lines, d.Brief())
		cause := d
		cause.Path = "" // kubectl prints the field before it
		causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: d.Path, Message: cause.Brief()})
	}
	out := admission.Refuse(http.StatusUnprocessableEntity, strings.Join(lines, "\n"))
	out.Result.Details = &metav1.StatusDetails{Kind: found[0].Object.Kind, Name: found[0].Object.Name, Causes: causes}
	return out
}
