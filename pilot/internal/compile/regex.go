package compile

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weftmesh/weft/internal/diag"
)

// Bounds of a pattern: every proxy compiles it, and Envoy refuses a whole route
// table for one pattern whose program is larger than its limit. The agent's
// bootstrap sets 32768 (re2.max_program_size.error_level); half of it leaves
// room for what the estimate here does not see.
const (
	maxRegex   = 4096 // bytes
	maxProgram = 16384
)

// checkRegex reports whether Envoy 1.40 compiles the pattern. Its RE2 shares
// Go's syntax, but reads bytes as Latin-1 and knows fewer names of classes
// (measured with envoy --mode validate).
func checkRegex(pattern string, at diag.Path, d *diag.List) bool {
	switch {
	case pattern == "":
		d.Add(diag.Invalid, at, "the pattern is empty")
		return false
	case len(pattern) > maxRegex:
		d.Add(diag.Invalid, at, "the pattern has %d bytes, at most %d are allowed", len(pattern), maxRegex)
		return false
	}
	size, err := programSize(pattern)
	if err == nil {
		err = checkClasses(pattern)
	}
	if err == nil && size > maxProgram {
		err = fmt.Errorf("its program has about %d steps, at most %d are allowed", size, maxProgram)
	}
	if err != nil {
		d.Add(diag.Invalid, at, "the pattern is not RE2: %v", err)
		return false
	}
	return true
}

// programSize estimates RE2's program: never much less than it has.
func programSize(pattern string) (n int, err error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0, err
	}
	for i := range prog.Inst {
		n += instructions(&prog.Inst[i])
	}
	return n, nil
}

// instructions are those of RE2 for one of Go's: a rune is one for each byte,
// a class one for each range of bytes.
func instructions(in *syntax.Inst) (n int) {
	switch {
	case in.Op != syntax.InstRune && in.Op != syntax.InstRune1:
		return 1
	case len(in.Rune) == 1:
		n = utf8.RuneLen(in.Rune[0])
		if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
			n *= 2
		}
		return max(n, 1)
	}
	for i := 0; i+1 < len(in.Rune); i += 2 {
		if in.Rune[i] <= unicode.MaxLatin1 {
			n++
		}
	}
	return max(n, 1)
}

// checkClasses finds escapes that Go takes and RE2 does not: newer names of
// Unicode classes, and code points above Latin-1.
func checkClasses(pattern string) error {
	for i := 0; i+1 < len(pattern); i++ {
		if pattern[i] != '\\' {
			continue
		}
		i++
		rest := pattern[i+1:]
		switch pattern[i] {
		case 'Q':
			end := strings.Index(rest, `\E`)
			if end < 0 {
				return nil
			}
			i += end + len(`\E`)
		case 'p', 'P':
			if name, ok := braced(rest); ok && !knownClass(strings.TrimPrefix(name, "^")) {
				return fmt.Errorf("the character class %q is not known to RE2", name)
			}
		case 'x':
			if code, ok := braced(rest); ok && above(code) {
				return fmt.Errorf(`\x{%s} is above \x{FF}; Envoy compares bytes`, code)
			}
		}
	}
	return nil
}

func braced(s string) (string, bool) {
	if !strings.HasPrefix(s, "{") {
		return "", false
	}
	name, _, ok := strings.Cut(s[1:], "}")
	return name, ok
}

func above(hex string) bool {
	v, err := strconv.ParseUint(hex, 16, 32)
	return err != nil || v > unicode.MaxLatin1
}

func knownClass(name string) bool {
	_, category := unicode.Categories[name]
	_, script := unicode.Scripts[name]
	return name == "Any" || script || category && !slices.Contains([]string{"Cn", "LC"}, name)
}
