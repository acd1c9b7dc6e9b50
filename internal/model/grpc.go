package model

// GRPCRetries are the conditions of retry_on that gRPC libraries have, sorted.
// Source: gRFC A44.
var GRPCRetries = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
