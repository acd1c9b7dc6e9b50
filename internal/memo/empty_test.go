package memo

import (
	"fmt"
	"runtime"
	"testing"
)

// A table without entries, as one of findings in a mesh that is in order, costs what
// changes, not what it is made of.
func TestAnEmptyTableCostsTheChange(t *testing.T) {
	const edits = 50
	cost := func(size int) (least uint64) {
		g := &Graph{}
		over := NewInput[int](g)
		_ = Map(g, &over.Cell, func(*Reader, string, int) (int, bool) { return 0, false })
		var items Table[int]
		for i := range size {
			items = items.With(fmt.Sprint(i), i)
		}
		over.Set(items)
		g.Run()
		least = 1 << 60
		for range 5 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for i := range edits {
				items = items.With("7", -i-1)
				over.Set(items)
				g.Run()
			}
			runtime.ReadMemStats(&after)
			least = min(least, (after.TotalAlloc-before.TotalAlloc)/edits)
		}
		return least
	}
	if few, many := cost(100), cost(20_000); many > 4*few {
		t.Errorf("an edit of 20,000 entries allocates %d bytes, of 100 %d", many, few)
	}
}
