package figures

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Printable is a label's value as a terminal may have it: at most so many
// characters, and what would move the cursor, change colours or turn the line's
// direction written as Go writes it.
func Printable(value string, atMost int) string {
	var out strings.Builder
	n := 0
	for i, r := range value {
		if n++; n > atMost {
			out.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && value[i] != "\uFFFD"[0]:
			fmt.Fprintf(&out, `\x%02x`, value[i])
		case !unicode.IsPrint(r): // controls, and Unicode's formats, which override directions
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
