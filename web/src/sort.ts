// compare orders what a column holds: numbers by size, words as people count
// them (pod-2 before pod-10), what is not known last, whatever the direction.
export type Cell = string | number | boolean | null | undefined;

const words = new Intl.Collator("en", { numeric: true });

export function compare(a: Cell, b: Cell, down: boolean): number {
  const none = Number(a == null) - Number(b == null);
  if (none !== 0 || a == null || b == null) return none;
  const order = typeof a === "string" && typeof b === "string" ? words.compare(a, b) : Number(a) - Number(b);
  return down ? -order : order;
}

// sorted does not touch what it is given; equals keep their order.
export function sorted<T>(rows: readonly T[], cell: (row: T) => Cell, down: boolean): T[] {
  return [...rows].sort((a, b) => compare(cell(a), cell(b), down));
}

// matches says whether some text has all the words of a filter.
export function matches(filter: string, ...texts: (string | undefined)[]): boolean {
  const all = texts.join(" ").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => all.includes(word));
}
