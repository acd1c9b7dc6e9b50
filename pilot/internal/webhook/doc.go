// Package webhook is the validating webhook: it answers the API server whether
// an Istio object may be stored.
//
// In: AdmissionReviews; a Check that says what is wrong with an object. Out: an
// answer, and the caBundle of the ValidatingWebhookConfiguration kept. What is
// wrong whatever else there is refuses the object; what depends on others,
// which may come later, is a warning. Imports: config, diag, admission,
// client-go; no stage of the pilot.
package webhook
