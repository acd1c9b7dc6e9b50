// Package image writes container images as archives that `docker load`, `ctr
// images import` and `podman load` take, with no daemon and no registry.
//
// Input: an Image, whose files are on the disk. Output: a docker archive of one
// layer, the same bytes for the same input: files are sorted, times are fixed.
// It may import github.com/google/go-containerregistry and nothing else of the
// project.
package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is one image to write.
type Image struct {
	// Names are HOST/REPOSITORY:TAG, at least one.
	Names []string
	// Files are paths on the disk by absolute path in the image. All belong to
	// root and can be read, and run where they can on the disk, by everybody.
	Files map[string]string
	// Dirs are empty directories that the image has besides those of its files.
	Dirs []string
	// Entrypoint is the program with its first arguments, Command further default
	// arguments.
	Entrypoint, Command []string
	// User is UID or UID:GID; empty is root.
	User string
	// Env are NAME=VALUE beside PATH.
	Env []string
	// Labels are the image's metadata.
	Labels map[string]string
}

// epoch is the time of everything in an image.
var epoch = time.Unix(0, 0).UTC()

// Write writes the archive to dest, which appears when it is whole.
func (i Image) Write(dest string) error {
	if err := i.write(dest); err != nil {
		return fmt.Errorf("image %v: %w", i.Names, err)
	}
	return nil
}

func (i Image) write(dest string) error {
	if len(i.Names) == 0 {
		return errors.New("it has no name")
	}
	for _, n := range i.Names {
		if _, err := name.NewTag(n, name.StrictValidation); err != nil {
			return err
		}
	}
	layer, err := i.layer()
	if err != nil {
		return err
	}
	img, err := i.assemble(layer)
	if err != nil {
		return err
	}
	partial := dest + ".partial"
	defer func() { _ = os.Remove(partial) }()
	out, err := os.Create(partial)
	if err != nil {
		return err
	}
	if err := errors.Join(i.archive(out, img, layer), out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", dest, err)
	}
	return os.Rename(partial, dest)
}

// archive writes what `docker save` would: configuration, layer, and a manifest
// that names both. (The library's own writer orders names by chance.) Source:
// the Docker image specification v1.2, "Combined Image JSON + Filesystem
// Changeset Format".
func (i Image) archive(w io.Writer, img v1.Image, layer v1.Layer) error {
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	id, err := img.ConfigName()
	if err != nil {
		return err
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	size, err := layer.Size()
	if err != nil {
		return err
	}
	digest, err := layer.DiffID()
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(tarball.Manifest{{Config: id.Hex + ".json", RepoTags: i.Names, Layers: []string{digest.Hex + ".tar"}}})
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	for _, file := range []struct {
		name    string
		size    int64
		content io.Reader
	}{
		{id.Hex + ".json", int64(len(config)), bytes.NewReader(config)},
		{digest.Hex + ".tar", size, content},
		{"manifest.json", int64(len(manifest)), bytes.NewReader(manifest)},
	} {
		header := &tar.Header{Name: file.name, Size: file.size, Mode: 0o644, ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(archive, file.content); err != nil {
			return err
		}
	}
	return archive.Close()
}

// assemble puts the configuration around the layer.
func (i Image) assemble(layer v1.Layer) (v1.Image, error) {
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "weft"}})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Created = runtime.GOARCH, "linux", v1.Time{Time: epoch}
	file.Config = v1.Config{
		Entrypoint: i.Entrypoint, Cmd: i.Command, User: i.User, Labels: i.Labels, WorkingDir: "/",
		Env: append([]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, i.Env...),
	}
	return mutate.ConfigFile(img, file)
}

// layer is not compressed: writing and importing it takes a fraction of the
// time, and whoever sends the archive or pushes the image compresses it then.
func (i Image) layer() (v1.Layer, error) {
	var content bytes.Buffer
	if err := i.tar(&content); err != nil {
		return nil, err
	}
	return static.NewLayer(content.Bytes(), types.DockerUncompressedLayer), nil
}

// tar writes the image's files in the order of their paths, each after its
// folders.
func (i Image) tar(w io.Writer) error {
	entries := map[string]string{} // source by path; empty for folders
	for _, dir := range i.Dirs {
		entries[strings.Trim(dir, "/")+"/"] = ""
	}
	for dest, source := range i.Files {
		if !path.IsAbs(dest) || source == "" {
			return fmt.Errorf("file %q from %q: want an absolute path and a source", dest, source)
		}
		entries[strings.TrimPrefix(path.Clean(dest), "/")] = source
	}
	for _, p := range slices.Collect(maps.Keys(entries)) {
		for dir := path.Dir(strings.TrimSuffix(p, "/")); dir != "."; dir = path.Dir(dir) {
			entries[dir+"/"] = ""
		}
	}
	archive := tar.NewWriter(w)
	for _, p := range slices.Sorted(maps.Keys(entries)) {
		if err := add(archive, p, entries[p]); err != nil {
			return err
		}
	}
	return archive.Close()
}

// add writes one folder (source is empty) or file.
func add(archive *tar.Writer, dest, source string) error {
	header := &tar.Header{Name: dest, ModTime: epoch, Mode: 0o755, Typeflag: tar.TypeDir, Format: tar.FormatUSTAR}
	if dest == "tmp/" {
		header.Mode = 0o1777
	}
	if source == "" {
		return archive.WriteHeader(header)
	}
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New(source + " is not a file")
	}
	header.Typeflag, header.Size, header.Mode = tar.TypeReg, info.Size(), 0o644
	if info.Mode()&0o111 != 0 {
		header.Mode = 0o755 // whatever the umask of who built it
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(archive, f)
	return err
}
