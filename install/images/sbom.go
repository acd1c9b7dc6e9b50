package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/internal/licence"
)

// programs are what the images' binaries are built from.
var programs = []string{"./cmd/...", "./samples/bookshop/cmd/..."}

// bill writes what an image is made of: its files, and of those that are Go
// programs the modules which they were linked from, as the programs themselves
// say. It says nothing of the machine or the time, so that the same image has the
// same bill. Source: CycloneDX 1.7, https://cyclonedx.org/docs/1.7/json/.
type bill struct {
	known map[string][]string // licences by PATH@VERSION of a module
	bom   *cyclonedx.BOM
	made  map[string][]string // what is made of what, by bom-ref
}

// knownLicences are those of the modules that this tree's programs are linked
// from.
func knownLicences(ctx context.Context, root string) (map[string][]string, error) {
	linked, err := licence.Linked(ctx, root, programs...)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, p := range linked {
		ids, err := licence.Of(p)
		if err != nil {
			return nil, err
		}
		module := p.Module.Path + "@" + p.Module.Version
		ids = append(ids, out[module]...)
		slices.Sort(ids)
		out[module] = slices.Compact(ids)
	}
	return out, nil
}

// writeBills writes DIR/NAME.cdx.json for each image.
func writeBills(ctx context.Context, o options, all []named) error {
	known, err := knownLicences(ctx, o.tree)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.sbom, 0o755); err != nil {
		return err
	}
	var failed error
	for _, i := range all {
		dest := filepath.Join(o.sbom, i.name+".cdx.json")
		b := bill{known: known, bom: cyclonedx.NewBOM(), made: map[string][]string{}}
		if err := b.write(ctx, i, o.tag, dest); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w (`make build` makes the binaries)", dest, err))
			continue
		}
		fmt.Printf("%-28s %d components\n", dest, len(*b.bom.Components))
	}
	return failed
}

func (b bill) write(ctx context.Context, i named, tag, dest string) error {
	if err := b.fill(ctx, i.name, tag, i.image); err != nil {
		return err
	}
	f, err := os.Create(dest)
	if err != nil {
		return err
	}
	err = cyclonedx.NewBOMEncoder(f, cyclonedx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).Encode(b.bom)
	return errors.Join(err, f.Close())
}

func (b bill) fill(ctx context.Context, name, tag string, i image.Image) error {
	whole := cyclonedx.Component{BOMRef: "image", Type: cyclonedx.ComponentTypeContainer, Name: "weft-" + name, Version: tag, Licenses: licences([]string{"Apache-2.0"})}
	b.bom.Metadata = &cyclonedx.Metadata{Component: &whole}
	parts := map[string]cyclonedx.Component{}
	for _, path := range slices.Sorted(maps.Keys(i.Files)) {
		part, err := b.file(ctx, path, i.Files[path], tag, parts)
		if err != nil {
			return err
		}
		parts[path] = part
		b.made["image"] = append(b.made["image"], path)
	}
	var list []cyclonedx.Component
	for _, ref := range slices.Sorted(maps.Keys(parts)) {
		list = append(list, parts[ref])
	}
	b.bom.Components = &list
	var made []cyclonedx.Dependency
	for _, ref := range slices.Sorted(maps.Keys(b.made)) {
		of := b.made[ref]
		made = append(made, cyclonedx.Dependency{Ref: ref, Dependencies: &of})
	}
	b.bom.Dependencies = &made
	return nil
}

// file describes the file at path in the image, which is at from on the disk;
// modules that it was linked from join parts.
func (b bill) file(ctx context.Context, path, from, tag string, parts map[string]cyclonedx.Component) (cyclonedx.Component, error) {
	sum, err := sha256Of(from)
	if err != nil {
		return cyclonedx.Component{}, err
	}
	out := cyclonedx.Component{
		BOMRef: path, Type: cyclonedx.ComponentTypeFile, Name: path,
		Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: sum}},
	}
	if filepath.Base(path) == "envoy" {
		release, err := envoybin.Query(ctx, from)
		if err != nil {
			return out, err
		}
		out.Type, out.Version, out.Licenses = cyclonedx.ComponentTypeApplication, release.Version, licences([]string{"Apache-2.0"})
		out.PackageURL = "pkg:github/envoyproxy/envoy@v" + release.Version
		return out, nil
	}
	if info, err := buildinfo.ReadFile(from); err == nil {
		out.Type, out.Version, out.Licenses = cyclonedx.ComponentTypeApplication, tag, licences([]string{"Apache-2.0"})
		return out, b.linked(path, info, parts)
	}
	return out, nil // a library of the system
}

// linked adds the modules of a program, and Go's own library.
func (b bill) linked(path string, info *debug.BuildInfo, parts map[string]cyclonedx.Component) error {
	std := module("std", info.GoVersion, []string{"BSD-3-Clause"})
	parts[std.BOMRef] = std
	b.made[path] = []string{std.BOMRef}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		ids := b.known[dep.Path+"@"+dep.Version]
		if len(ids) == 0 {
			return fmt.Errorf("%s holds %s %s, which this tree does not link: it is older", path, dep.Path, dep.Version)
		}
		m := module(dep.Path, dep.Version, ids)
		parts[m.BOMRef] = m
		b.made[path] = append(b.made[path], m.BOMRef)
	}
	return nil
}

// module is one of Go's modules. Source of the form: purl-spec, type golang.
func module(path, version string, ids []string) cyclonedx.Component {
	purl := "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")
	return cyclonedx.Component{
		BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl, Licenses: licences(ids),
	}
}

func licences(ids []string) *cyclonedx.Licenses {
	out := cyclonedx.Licenses{}
	for _, id := range ids {
		out = append(out, cyclonedx.LicenseChoice{License: &cyclonedx.License{ID: id}})
	}
	return &out
}

func sha256Of(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
