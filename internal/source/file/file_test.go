package file_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/file"
	"github.com/weftmesh/weft/internal/source/sourcetest"
)

const service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n"

func TestContract(t *testing.T) {
	for name, write := range map[string]func(string, string) error{"in place": inPlace, "renamed into place": renamed} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Run(t, func(t *testing.T) sourcetest.Harness {
				dir := t.TempDir()
				return sourcetest.Harness{
					Source: file.New(slog.New(slog.DiscardHandler), []string{dir}),
					Put: func(place, yaml string) {
						if err := write(filepath.Join(dir, place+".yaml"), yaml); err != nil {
							t.Fatal(err)
						}
					},
					Remove: func(place string) {
						if err := os.Remove(filepath.Join(dir, place+".yaml")); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

func inPlace(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }

func renamed(name, text string) error {
	if err := os.WriteFile(name+".tmp", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// A file that is emptied and written again, as many editors save, must never
// be taken for an empty one.
func TestSavingInPlaceNeverLosesObjects(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.yaml")
	if err := inPlace(name, service); err != nil {
		t.Fatal(err)
	}
	states := run(t, dir)
	<-states
	for i := range 100 {
		text := service + "# " + string(rune('a'+i%26)) + "\n"
		if i == 99 {
			text += "---\napiVersion: v1\nkind: Service\nmetadata: {name: last}\n"
		}
		if err := inPlace(name, text); err != nil {
			t.Fatal(err)
		}
	}
	for st := range states {
		if _, ok := st.Set.Of(config.Service).Get("default/a"); !ok {
			t.Fatal("the service was lost while its file was saved")
		}
		if _, ok := st.Set.Of(config.Service).Get("default/last"); ok {
			return
		}
	}
}

func TestTheSameObjectTwice(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"1.yaml", "2.yaml"} {
		if err := inPlace(filepath.Join(dir, n), service); err != nil {
			t.Fatal(err)
		}
	}
	st, err := file.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := st.Set.Of(config.Service).Get("default/a")
	if len(st.Findings) != 1 || st.Findings[0].Object.File != filepath.Join(dir, "2.yaml") || filepath.Base(o.File) != "1.yaml" {
		t.Fatalf("got %v from %s", st.Findings, o.File)
	}
}

func TestWhatControllersMadeWins(t *testing.T) {
	dir, made := t.TempDir(), t.TempDir()
	if err := inPlace(filepath.Join(dir, "a.yaml"), "# a comment\n"+service); err != nil {
		t.Fatal(err)
	}
	if err := inPlace(filepath.Join(made, "service.json"), "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}\n"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var got source.State
	if err := file.New(slog.New(slog.DiscardHandler), []string{dir}).Observe(made).Run(ctx, func(st source.State) { got = st; cancel() }); err != nil {
		t.Fatal(err)
	}
	o, _ := got.Set.Of(config.Service).Get("default/a")
	svc, ok := o.Spec.(*corev1.Service)
	if !ok || svc.Spec.ClusterIP != "10.96.0.9" || filepath.Base(o.File) != "a.yaml" || len(got.Findings) != 0 {
		t.Fatalf("got %+v, findings %v", o, got.Findings)
	}
}

func TestNoFolder(t *testing.T) {
	if _, err := file.Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("a folder that does not exist was read")
	}
}

func run(t *testing.T, dir string) <-chan source.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	states := make(chan source.State, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(states)
		_ = file.New(slog.New(slog.DiscardHandler), []string{dir}).Run(ctx, func(st source.State) { states <- st })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return states
}
