package guide

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	const says = "pod/web-7d9f8c5b6-x2x4z   10.244.1.3  ready 2/2\nok  weft-pilot\n"
	for printed, same := range map[string]bool{
		"ok    weft-pilot\npod/web-5c9f8c5b6-zz9zz 10.244.2.77 ready 2/2\n": true,
		"ok weft-pilot\n": false,
		says + "more\n":   false,
		strings.Replace(says, "ready", "waiting", 1): false,
	} {
		if err := Compare(says, printed); (err == nil) != same {
			t.Errorf("%q: %v", printed, err)
		}
	}
	if err := Compare("...\nok weft-pilot\n", says); err != nil {
		t.Error(err)
	}
}

// What is quoted of an object is quoted whole, and a status as it is.
func TestCompareWhatCounts(t *testing.T) {
	const says = "...\n\"byVersion\": {\n  \"v1\": 12\n},\n...\n"
	for printed, same := range map[string]bool{
		"{\n\"byVersion\": {\n\"v1\": 7\n},\n\"byPod\": {}\n}\n":               true,
		"{\n\"byVersion\": {\n\"v1\": 7,\n\"v2\": 5\n},\n\"byPod\": {}\n}\n":   false,
		"{\n\"byVersion\": {\n\"v2\": 5,\n\"v1\": 7\n},\n\"byPod\": {}\n}\n":   false,
		"{\n\"byVersion\": {\n\"v1\": 7\n,\n\"v2\": 1\n},\n\"byPod\": {}\n}\n": false,
	} {
		if err := Compare(says, printed); (err == nil) != same {
			t.Errorf("%q: %v", printed, err)
		}
	}
	if Compare("HTTP/1.1 200 OK\n", "HTTP/1.1 200 OK\n") != nil || Compare("HTTP/2 421\n", "HTTP/2 404\n") == nil {
		t.Error("a status is a figure")
	}
}

// A file, commands and what they print, in their order.
func TestRead(t *testing.T) {
	g, err := Read(filepath.Join("..", "..", "docs", "guides", "tcp.md"), "sh")
	if err != nil {
		t.Fatal(err)
	}
	files, prints := 0, 0
	for _, b := range g.Blocks {
		if b.File != "" {
			files++
		}
		if b.Prints != "" {
			prints++
		}
	}
	if files != 2 || prints < 5 || g.Blocks[0].Text != "bin/weft up samples/tcp --detach\n" {
		t.Errorf("%d files, %d outputs: %+v", files, prints, g.Blocks)
	}
}
