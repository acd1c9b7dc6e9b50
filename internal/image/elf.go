package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Libraries are the files of this machine that a program needs to start, by
// path: its loader and its shared libraries, and theirs. A static program needs
// none. An image that has them at the same paths can run the program.
//
// They are found as the loader does: by the program's own run path, in the
// folders of /etc/ld.so.conf, and in the usual ones. Source: ld.so(8), ELF's
// PT_INTERP and DT_NEEDED.
func Libraries(program string) (map[string]string, error) {
	found := map[string]string{}
	if err := libraries(program, searchPath(), found); err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", program, err)
	}
	return found, nil
}

func libraries(path string, folders []string, found map[string]string) error {
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if loader, err := interpreter(file); err != nil {
		return err
	} else if loader != "" {
		found[loader] = loader
	}
	needed, err := file.ImportedLibraries()
	if err != nil {
		return err
	}
	own, err := runPath(file, path)
	if err != nil {
		return err
	}
	for _, name := range needed {
		library, err := locate(name, append(own, folders...), file.Machine)
		if err != nil {
			return err
		}
		if _, known := found[library]; known || sameName(found, name) {
			continue
		}
		found[library] = library
		if err := libraries(library, folders, found); err != nil {
			return err
		}
	}
	return nil
}

// sameName tells whether a library of that name is found already: the loader
// may be listed as a library too.
func sameName(found map[string]string, name string) bool {
	for path := range found {
		if filepath.Base(path) == name {
			return true
		}
	}
	return false
}

func interpreter(file *elf.File) (string, error) {
	for _, p := range file.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		content := make([]byte, p.Filesz)
		if _, err := p.ReadAt(content, 0); err != nil {
			return "", err
		}
		return strings.TrimRight(string(content), "\x00"), nil
	}
	return "", nil
}

func runPath(file *elf.File, path string) (folders []string, err error) {
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		values, err := file.DynString(tag)
		if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
			return nil, err
		}
		for _, value := range values {
			for folder := range strings.SplitSeq(value, ":") {
				folders = append(folders, strings.ReplaceAll(folder, "$ORIGIN", filepath.Dir(path)))
			}
		}
	}
	return folders, nil
}

// locate finds a library of the right machine.
func locate(name string, folders []string, machine elf.Machine) (string, error) {
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		file, err := elf.Open(path)
		if err != nil {
			continue // not there, or a linker script
		}
		fits := file.Machine == machine
		if err := file.Close(); err != nil {
			return "", err
		}
		if fits {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s in %v: is the package that has it installed?", name, folders)
}

// searchPath are the folders in which the loader of this machine looks.
func searchPath() []string {
	return append(loaderConfig("/etc/ld.so.conf"), "/lib64", "/lib", "/usr/lib64", "/usr/lib")
}

// loaderConfig reads ld.so.conf and what it includes. A file that is absent has
// nothing to say.
func loaderConfig(path string) (folders []string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(content)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "include":
			included, _ := filepath.Glob(fields[1]) // a bad pattern includes nothing
			for _, file := range included {
				folders = append(folders, loaderConfig(file)...)
			}
		case len(fields) == 1:
			folders = append(folders, fields[0])
		}
	}
	return folders
}
