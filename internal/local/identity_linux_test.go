package local

import (
	"slices"
	"testing"
)

// TestMeshDirHidesNothing: a folder below the first choice moves the mesh to
// the next one.
func TestMeshDirHidesNothing(t *testing.T) {
	first, err := chooseMeshDir(nil)
	if err != nil {
		t.Fatal(err)
	}
	next, err := chooseMeshDir([]string{first + "/some/folder"})
	if err != nil || next == first || !slices.Contains(meshDirs, next) {
		t.Errorf("with a folder below %s: %q, %v", first, next, err)
	}
	var all []string
	for _, dir := range meshDirs {
		all = append(all, dir+"/x")
	}
	if got, err := chooseMeshDir(all); err == nil {
		t.Errorf("with folders below each: %q, want an error", got)
	}
}

func TestAppUserBehindSudo(t *testing.T) {
	t.Setenv("SUDO_UID", "12345")
	t.Setenv("SUDO_GID", "54321")
	if got := appUser(Rootless); got.UID == 12345 {
		t.Errorf("without root no other user is possible: %+v", got)
	}
	if got := appUser(Root); chooseMode() == Root && (got.UID != 12345 || got.GID != 54321) {
		t.Errorf("behind sudo: %+v", got)
	}
	t.Setenv("SUDO_UID", "me")
	if got := appUser(Root); got.UID == 12345 {
		t.Errorf("with an unreadable SUDO_UID: %+v", got)
	}
}
