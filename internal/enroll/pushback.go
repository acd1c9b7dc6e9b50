package enroll

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/grpc/metadata"
)

// Pushback is the trailer by which a CA says for how many milliseconds asking
// again is in vain. Source: gRPC proposal A6, "Pushback".
const Pushback = "grpc-retry-pushback-ms"

// maxPushback bounds what a CA is believed of it.
const maxPushback = 30 * time.Second

// busyError is the refusal of a CA that has too much to do for the caller now.
type busyError struct {
	error
	after time.Duration
}

// Unwrap returns the refusal.
func (e *busyError) Unwrap() error { return e.error }

// pushedBack is err with what the CA said about asking again, if it did.
func pushedBack(err error, trailer metadata.MD) error {
	said := trailer.Get(Pushback)
	if len(said) != 1 {
		return err
	}
	ms, parseErr := strconv.ParseUint(said[0], 10, 32)
	if parseErr != nil || ms == 0 {
		return err
	}
	return &busyError{error: err, after: min(time.Duration(ms)*time.Millisecond, maxPushback)}
}

// toldToWait is how long to stay away after err: never less than the CA said, and
// at random up to twice that, so that those who were told together do not come
// back together. 0: it said nothing.
func toldToWait(err error) time.Duration {
	var busy *busyError
	if !errors.As(err, &busy) {
		return 0
	}
	return time.Duration(float64(busy.after) * (1 + rand.Float64()))
}
