package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/ca"
	"github.com/weftmesh/weft/internal/enroll"
)

// TestListsForPeople: weft ca status tells of each list of revoked certificates, and
// of what is wrong with them; of none where there is none.
func TestListsForPeople(t *testing.T) {
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	for name, tt := range map[string]struct {
		lists ca.Lists
		want  []string // in this order
	}{
		"none": {ca.Lists{}, nil},
		"two, one at fault": {
			ca.Lists{Fault: "not all are used", Of: []enroll.ListStatus{{Issuer: "CN=one", Revoked: 2, Expires: end}, {Issuer: "CN=other", Expires: end, Fault: "nobody signed it"}}},
			[]string{
				"\nREVOKED BY  CERTIFICATES  LIST EXPIRES         FAULT\n", "CN=one      2             2030-01-02 03:04:05  -\n",
				"CN=other    0             2030-01-02 03:04:05  nobody signed it\n", "\nrevoked certificates: not all are used\n",
			},
		},
		"none that can be read": {ca.Lists{Fault: "want PEM"}, []string{"\nrevoked certificates: want PEM\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			status := ca.RotationStatus{Stage: "None", Revoked: tt.lists}
			if err := (&app{out: &out}).printRotation(status); err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(out.String(), "SIGNS\n")
			before, _, _ := strings.Cut(rest, "\n0 hold certificates")
			if want := strings.Join(tt.want, ""); before != want {
				t.Errorf("printed %q, want %q", before, want)
			}
		})
	}
}
