package licence

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// programs are what `make build` and `make images` make.
var programs = []string{"./cmd/...", "./samples/bookshop/cmd/...", "./samples/grpc-proxyless/cmd/..."}

// TestLinkedModules holds every package that a program of ours is linked from to
// the licences that the project accepts.
func TestLinkedModules(t *testing.T) {
	linked, err := Linked(t.Context(), "../..", programs...)
	if err != nil {
		t.Fatal(err)
	}
	if len(linked) < 100 {
		t.Fatalf("%d packages: `go list` does not see the programs", len(linked))
	}
	modules := map[string][]string{}
	for _, p := range linked {
		ids, err := Of(p)
		if err != nil {
			t.Error(err)
			continue
		}
		if refused := Refused(ids); len(refused) > 0 {
			t.Errorf("%s of %s %s is under %v, which Accepted (internal/licence) does not hold", p.ImportPath, p.Module.Path, p.Module.Version, refused)
		}
		for _, id := range ids {
			if !slices.Contains(modules[id], p.Module.Path) {
				modules[id] = append(modules[id], p.Module.Path)
			}
		}
	}
	for id, of := range modules {
		t.Logf("%s: %d modules", id, len(of))
	}
}

// gpl is how a program says that it is under the GNU GPL.
const gpl = `This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.

This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied warranty of
MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See the GNU General Public License for more details.
`

// isc is the licence of that name.
const isc = `Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED
WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR
CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT,
NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.
`

// TestRefuses: what the check must not let pass.
func TestRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"copyleft":   gpl,
		"no licence": "All rights reserved. You may look at this, and do nothing else with it at all.\n",
		"empty":      "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "LICENSE.txt"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := Package{ImportPath: "example.org/a/b", Dir: dir, Module: &Module{Path: "example.org/a", Dir: dir}}
		if ids, err := Of(p); err == nil && len(Refused(ids)) == 0 {
			t.Errorf("%s: taken as %v", name, ids)
		} else {
			t.Logf("%s: %v, %v", name, ids, err)
		}
	}
}

// TestNearestLicences: a package below another's licence has both.
func TestNearestLicences(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "third", "party")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	apache, err := os.ReadFile("../../LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(root, "LICENSE"):             isc,
		filepath.Join(root, "third", "COPYING"):    string(apache),
		filepath.Join(root, "third", "license.go"): "package third\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := Of(Package{Dir: below, Module: &Module{Dir: root}})
	if want := []string{"Apache-2.0", "ISC"}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%v, %v; want %v", ids, err, want)
	}
}
