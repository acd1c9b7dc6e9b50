package envoy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

// formatAnswer and parseAnswer carry an Upstream in a header.
func formatAnswer(u simulate.Upstream) string {
	return fmt.Sprintf("%d %d %d %t %t %s", u.Status, u.Delay.Nanoseconds(), u.Failures, u.Mute, u.Report, u.Only)
}

func parseAnswer(s string) (u simulate.Upstream) {
	fields := strings.Fields(s)
	if len(fields) < 5 {
		return u
	}
	if len(fields) == 6 {
		u.Only = fields[5]
	}
	u.Mute, u.Report = fields[3] == "true", fields[4] == "true"
	u.Status, _ = strconv.Atoi(fields[0])
	delay, _ := strconv.ParseInt(fields[1], 10, 64)
	u.Delay = time.Duration(delay)
	u.Failures, _ = strconv.Atoi(fields[2])
	return u
}
