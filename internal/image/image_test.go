package image

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// sample is an image of two files, one of which can be run.
func sample(t *testing.T) Image {
	t.Helper()
	dir := t.TempDir()
	for file, mode := range map[string]os.FileMode{"run": 0o700, "read": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(file), mode); err != nil {
			t.Fatal(err)
		}
	}
	return Image{
		Names: []string{"localhost/weft/b:1", "localhost/weft/a:1"},
		Files: map[string]string{"/usr/local/bin/run": dir + "/run", "/etc/read": dir + "/read"},
		Dirs:  []string{"/tmp"}, Entrypoint: []string{"/usr/local/bin/run"}, User: "1:1",
	}
}

// TestWrite reads an archive as a library that did not write it does.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := sample(t).Write(path); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"localhost/weft/a:1", "localhost/weft/b:1"} {
		tag, err := name.NewTag(n)
		if err != nil {
			t.Fatal(err)
		}
		img, err := tarball.ImageFromPath(path, &tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Error(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.User != "1:1" || !slices.Equal(config.Config.Entrypoint, []string{"/usr/local/bin/run"}) {
			t.Errorf("configuration %+v", config.Config)
		}
		var listed []string
		for files := tar.NewReader(mutate.Extract(img)); ; {
			header, err := files.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			listed = append(listed, header.FileInfo().Mode().String()+" "+header.Name)
		}
		want := "drwxr-xr-x etc -rw-r--r-- etc/read dtrwxrwxrwx tmp drwxr-xr-x usr drwxr-xr-x usr/local drwxr-xr-x usr/local/bin -rwxr-xr-x usr/local/bin/run"
		if got := strings.ReplaceAll(strings.Join(listed, " "), "/ ", " "); got != want {
			t.Errorf("files\n%s, want\n%s", got, want)
		}
	}
}

func TestWriteIsReproducible(t *testing.T) {
	i, dir := sample(t), t.TempDir()
	var first []byte
	for range 20 {
		if err := i.Write(dir + "/a.tar"); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(dir + "/a.tar")
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = content
		}
		if !bytes.Equal(first, content) {
			t.Fatal("the same image gave other bytes")
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	for want, change := range map[string]func(*Image){
		"no name":       func(i *Image) { i.Names = nil },
		"tag must":      func(i *Image) { i.Names = []string{"UPPER CASE"} },
		"absolute":      func(i *Image) { i.Files = map[string]string{"run": "/bin/sh"} },
		"no such file":  func(i *Image) { i.Files = map[string]string{"/run": "/does/not/exist"} },
		"is not a file": func(i *Image) { i.Files = map[string]string{"/run": "/"} },
	} {
		i := sample(t)
		change(&i)
		dest := filepath.Join(t.TempDir(), "a.tar")
		if err := i.Write(dest); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := os.Stat(dest); !os.IsNotExist(err) {
			t.Errorf("%s: an archive is there", want)
		}
	}
}

// TestLibraries holds the list against a program that surely has libraries.
func TestLibraries(t *testing.T) {
	found, err := Libraries("/bin/ls")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for path := range found {
		names = append(names, filepath.Base(path))
	}
	all := strings.Join(names, " ")
	if !strings.Contains(all, "libc.") || !strings.Contains(all, "ld-") {
		t.Errorf("libraries of /bin/ls: %v", names)
	}
	self, err := Libraries("/proc/self/exe")
	if err != nil {
		t.Errorf("this program: %v, %v", self, err)
	}
	if _, err := Libraries("/etc/passwd"); err == nil {
		t.Error("a text file has libraries")
	}
}
