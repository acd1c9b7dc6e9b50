package enroll

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestPushback(t *testing.T) {
	crowded := status.Error(codes.ResourceExhausted, "crowded")
	for said, want := range map[string]time.Duration{
		"2000": 2 * time.Second, "1": time.Millisecond, "4000000000": maxPushback,
		"0": 0, "-1": 0, "x": 0, "1.5": 0, "99999999999999999999": 0,
	} {
		err := pushedBack(crowded, metadata.Pairs(Pushback, said))
		if status.Code(err) != codes.ResourceExhausted || isOutage(err) {
			t.Errorf("%s: the refusal became %v", said, err)
		}
		for range 100 {
			if got := toldToWait(err); got < want || got > 2*want {
				t.Errorf("%s: waits %v, want %v to twice that", said, got, want)
			}
		}
	}
	if toldToWait(crowded) != 0 || toldToWait(pushedBack(crowded, metadata.Pairs(Pushback, "1", Pushback, "2"))) != 0 {
		t.Error("nothing was said, or two things")
	}
}

// refuses refuses the first time and then is glad never to be asked.
type refuses struct {
	asked chan time.Time
	err   error
}

func (r *refuses) Issue(context.Context) (*Certificate, error) {
	r.asked <- time.Now()
	return nil, r.err
}

// A Manager without a certificate would ask again within 0.1 s: it does not where
// the CA said so.
func TestManagerHonoursPushback(t *testing.T) {
	const told = 700 * time.Millisecond
	r := &refuses{asked: make(chan time.Time, 100), err: &busyError{error: errors.New("crowded"), after: told}}
	m := NewManager(ManagerOptions{Issuer: r})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.renew(ctx) }()
	first, second := <-r.asked, <-r.asked
	if pause := second.Sub(first); pause < told {
		t.Errorf("asked again after %v, was told %v", pause, told)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
