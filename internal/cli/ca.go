package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/ca"
)

func (a *app) ca() *cobra.Command {
	c := &cobra.Command{
		Use: "ca", GroupID: "look", Short: "See the mesh's roots, and change them without a connection lost",
		Args: exactly(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.caStatus(), a.caRotate())
	return c
}

func (a *app) caStatus() *cobra.Command {
	var watch bool
	var k kube
	c := &cobra.Command{
		Use: "status", Short: "Show the roots, when they end, and how a rotation stands",
		Long: "Show the roots, when they end, and how a rotation stands.\n\n" + whichMesh,
		Args: exactly(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if watch && a.output == "json" {
				return usageError{errors.New("--watch and -o json cannot be used together")}
			}
			s, err := a.rotation(c.Context(), &k, "")
			if err != nil {
				return err
			}
			switch {
			case watch:
				return a.watchRotation(c.Context(), &k, s)
			case a.output == "json":
				return a.json(s)
			}
			return a.printRotation(s)
		},
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "say each stage of a rotation until its end")
	k.flags(c, "n")
	a.outputFlag(c, "json")
	return c
}

func (a *app) caRotate() *cobra.Command {
	var pause, resume, back, watch bool
	var k kube
	c := &cobra.Command{
		Use: "rotate", Short: "Put a new root in the place of the CA's, step by step",
		Long: "Put a new root in the place of the CA's. The new one is trusted first; when every proxy is seen to\n" +
			"trust it, it signs; when no proxy has a certificate of the old one, that is dropped, and its key\n" +
			"deleted. Nothing is restarted, and no connection is cut. The CA goes on by itself, also after a crash.\n\n" + whichMesh,
		Args: exactly(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			do := "begin"
			for name, given := range map[string]bool{"pause": pause, "resume": resume, "rollback": back} {
				if given {
					do = name
				}
			}
			ctx := c.Context()
			s, err := a.rotation(ctx, &k, do)
			if err != nil {
				return err
			}
			if !watch {
				return a.printRotation(s)
			}
			return a.watchRotation(ctx, &k, s)
		},
	}
	f := c.Flags()
	f.BoolVar(&pause, "pause", false, "stay in the stage that it is in")
	f.BoolVar(&resume, "resume", false, "go on")
	f.BoolVar(&back, "rollback", false, "keep the old root: back by the way it came, until it is dropped")
	f.BoolVarP(&watch, "watch", "w", false, "say each stage until the end")
	k.flags(c, "n")
	c.MarkFlagsMutuallyExclusive("pause", "resume", "rollback")
	return c
}

// rotation asks the CA; do, unless it is "", is what it shall do first.
func (a *app) rotation(ctx context.Context, k *kube, do string) (ca.RotationStatus, error) {
	cluster, err := a.inCluster(k)
	if err != nil {
		return ca.RotationStatus{}, err
	}
	if cluster {
		return k.rotation(ctx, do)
	}
	return a.localRotation(ctx, do)
}

func (a *app) localRotation(ctx context.Context, what string) (s ca.RotationStatus, err error) {
	mesh, err := a.connect()
	if err != nil {
		return s, err
	}
	method, query := asked(what)
	req, err := http.NewRequestWithContext(ctx, method, "http://mesh/v1/ca/rotation"+query, nil)
	if err != nil {
		return s, err
	}
	text, err := do(mesh, req)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

func asked(do string) (method, query string) {
	if do == "" {
		return http.MethodGet, ""
	}
	return http.MethodPost, "?do=" + do
}

// watchRotation says each change until the rotation has ended.
func (a *app) watchRotation(ctx context.Context, k *kube, s ca.RotationStatus) error {
	last, failed := "", time.Time{}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if line := stageLine(s); line != last {
			last = line
			fmt.Fprintln(a.out, line)
		}
		if s.Stage == "Dropped" || s.Stage == "None" || s.Paused {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		next, err := a.rotation(ctx, k, "")
		switch {
		case err == nil:
			s, failed = next, time.Time{}
		case failed.IsZero(): // the CA may have crashed: it comes back in the same stage
			failed = time.Now()
		case time.Since(failed) > time.Minute:
			return errors.Join(ctx.Err(), err)
		}
	}
}

// What a stage means to people.
var stages = map[string]string{
	"None":       "there was no rotation yet",
	"Distribute": "the new root is made known; the old one signs",
	"Trusted":    "every proxy trusts the new root",
	"Issue":      "the new root signs; both are trusted",
	"Drained":    "no proxy has a certificate of the old root",
	"Dropped":    "the new root alone is trusted",
}

func stageLine(s ca.RotationStatus) string {
	line := s.Stage + ": " + stages[s.Stage]
	if s.Back {
		line = s.Stage + ", rolled back: " + strings.NewReplacer("the old", "the given-up", "the new", "the former").Replace(stages[s.Stage])
	}
	if s.Paused {
		line += "; paused"
	}
	return line
}

// manyWaiting is how many of those that are waited for are listed.
const manyWaiting = 20

func (a *app) printRotation(s ca.RotationStatus) error {
	fmt.Fprintf(a.out, "%s\n\n", stageLine(s))
	rows := [][]string{{"ROOT", "SUBJECT", "EXPIRES", "SIGNS"}}
	for _, r := range s.Roots {
		signs := "no"
		if r.Signs {
			signs = "yes"
		}
		rows = append(rows, []string{r.Fingerprint[:min(12, len(r.Fingerprint))], r.Subject, day(r.Expires), signs})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	if err := a.printRevoked(s.Revoked); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%d hold certificates", s.Proxies)
	if !s.FirstExpiry.IsZero() {
		fmt.Fprintf(a.out, "; the first to end is that of %s, at %s, which its agent renews before", s.FirstExpires, s.FirstExpiry.Local().Format(time.DateTime))
	}
	fmt.Fprintln(a.out)
	if !s.ByItself.IsZero() {
		fmt.Fprintf(a.out, "the next rotation begins by itself at %s\n", day(s.ByItself))
	}
	if !s.Listens.IsZero() {
		fmt.Fprintf(a.out, "listening until %s, so that every proxy is heard\n", s.Listens.Local().Format(time.TimeOnly))
	}
	return a.printWaiting(s)
}

// printRevoked prints the lists of revoked certificates, if there are any.
func (a *app) printRevoked(lists ca.Lists) error {
	if len(lists.Of) > 0 {
		rows := [][]string{{"REVOKED BY", "CERTIFICATES", "LIST EXPIRES", "FAULT"}}
		for _, l := range lists.Of {
			rows = append(rows, []string{l.Issuer, strconv.Itoa(l.Revoked), l.Expires.Local().Format(time.DateTime), cmp.Or(l.Fault, "-")})
		}
		fmt.Fprintln(a.out)
		if err := a.table(rows); err != nil {
			return err
		}
	}
	if lists.Fault != "" {
		fmt.Fprintf(a.out, "\nrevoked certificates: %s\n", lists.Fault)
	}
	return nil
}

func (a *app) printWaiting(s ca.RotationStatus) error {
	if len(s.Waiting) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	rows := [][]string{{"WAITING FOR", "WHICH"}}
	for _, w := range s.Waiting[:min(len(s.Waiting), manyWaiting)] {
		rows = append(rows, []string{w.Name, w.Why})
	}
	if n := len(s.Waiting) - manyWaiting; n > 0 {
		rows = append(rows, []string{fmt.Sprintf("and %d more", n), "(-o json lists all)"})
	}
	return a.table(rows)
}

func day(t time.Time) string { return t.Local().Format(time.DateOnly) }
