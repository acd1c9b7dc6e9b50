import type { Destination, Now, Row, Split } from "./api.ts";
import { sum } from "./graph/model.ts";

// Measured is a destination of a split beside what was counted of it.
export interface Measured {
  destination: Destination;
  versions: string[];
  calls: number; // requests and connections
  share: number | null; // of all calls to the split's destinations
  rate: number;
  success: number | null;
  p95: number | null;
  // Between what shares the true one is, by all but one chance in a thousand.
  range: [number, number] | null;
  differs: boolean; // the wanted share is not in that range
}

export interface Canary {
  split: Split;
  calls: number;
  lost: number; // calls that reached no workload of any destination
  measured: Measured[];
  // Two destinations have workloads in common: counts of one are those of the
  // other too, and nothing can be said of their shares.
  mixed: boolean;
  // Other splits send calls to the same services, and theirs are counted too.
  shared: boolean;
}

// z of a chance of one in a thousand, on both sides.
const z = 3.2905;

// wilson is the score interval of a share k/n: unlike the usual ±, it is good
// for few calls and for shares near 0 and 1.
export function wilson(k: number, n: number): [number, number] {
  const p = k / n;
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return [k === 0 ? 0 : Math.max(0, middle - half), k === n ? 1 : Math.min(1, middle + half)];
}

const serviceOf = (d: Destination) => `${d.namespace}/${d.service}`;

// canary joins a split with the routes that were measured.
export function canary(split: Split, all: Split[], now: Pick<Now, "routes">): Canary {
  const destinations = split.destinations ?? [];
  const services = new Set(destinations.map(serviceOf));
  const to = (row: Row) => `${row.namespace}/${row.to}`;
  const workloads = destinations.map((d) => new Set((d.workloads ?? []).map((w) => `${d.namespace}/${w}`)));
  const routes = (now.routes ?? []).filter((row) => services.has(`${row.namespace}/${row.name}`));
  // A host outside of the mesh has no workloads: all calls to it are its own.
  const takes = (i: number, row: Row) =>
    serviceOf(destinations[i]!) === `${row.namespace}/${row.name}` && (workloads[i]!.has(to(row)) || (workloads[i]!.size === 0 && destinations[i]!.namespace === "unknown"));
  const rows = destinations.map((_, i) => routes.filter((row) => takes(i, row)));
  const calls = (of: Row[]) => of.reduce((n, row) => n + row.requests + row.connections, 0);
  const lost = calls(routes.filter((row) => !rows.some((of) => of.includes(row))));
  const mixed = routes.some((row) => rows.filter((of) => of.includes(row)).length > 1);
  const total = mixed ? calls([...new Set(rows.flat())]) : rows.reduce((n, of) => n + calls(of), 0);
  return {
    split, calls: total, lost, mixed,
    shared: all.some((other) => other !== split && (other.destinations ?? []).some((d) => services.has(serviceOf(d)))),
    measured: destinations.map((d, i) => measure(d, rows[i]!, calls(rows[i]!), mixed ? 0 : total)),
  };
}

function measure(destination: Destination, rows: Row[], calls: number, total: number): Measured {
  const figures = sum(rows);
  const range = total > 0 ? wilson(calls, total) : null;
  return {
    destination, calls,
    versions: [...new Set(rows.map((row) => row.version ?? "").filter(Boolean))],
    share: total > 0 ? calls / total : null,
    rate: (figures.requestsPerSecond ?? 0) + (figures.connectionsPerSecond ?? 0),
    success: figures.successRate,
    p95: figures.latencyMilliseconds?.p95 ?? null,
    range,
    differs: range !== null && (destination.share < range[0] || destination.share > range[1]),
  };
}
