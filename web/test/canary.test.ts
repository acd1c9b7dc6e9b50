import { expect, test } from "vitest";
import type { Destination, Row, Split } from "../src/api.ts";
import { canary, wilson } from "../src/canary.ts";

const d = (subset: string, share: number, workloads: string[], more: Partial<Destination> = {}): Destination => ({
  host: "reviews.n.svc.cluster.local", service: "reviews", namespace: "n", subset, share, workloads, ...more,
});
const split = (...destinations: Destination[]): Split => ({ namespace: "n", name: "s", hosts: ["reviews"], gateways: ["mesh"], protocol: "http", route: "1", destinations });
const row = (to: string, requests: number, more: Partial<Row> = {}): Row => ({
  namespace: "n", name: "reviews", to, version: to, requests, failed: 0, connections: 0, successRate: 1, requestsPerSecond: requests / 60, receivedBytes: 0, sentBytes: 0, mutualTLS: 1, ...more,
});
const of = (s: Split, routes: Row[], all = [s]) => canary(s, all, { routes });

test("shares are measured among the destinations, and judged by the sample's size", () => {
  const s = split(d("v1", 0.9, ["v1"]), d("v2", 0.1, ["v2"]));
  const few = of(s, [row("v1", 16), row("v2", 4)]);
  expect(few.measured.map((m) => m.share)).toEqual([0.8, 0.2]);
  expect(few.measured.map((m) => m.differs)).toEqual([false, false]);
  const many = of(s, [row("v1", 1600), row("v2", 400)]);
  expect(many.measured.map((m) => m.share)).toEqual([0.8, 0.2]);
  expect(many.measured.map((m) => m.differs)).toEqual([true, true]);
});

test("one that gets nothing is measured as nothing", () => {
  const c = of(split(d("v1", 0.5, ["v1"]), d("v2", 0.5, ["v2"])), [row("v1", 100)]);
  expect(c.measured[1]).toMatchObject({ share: 0, differs: true, calls: 0 });
  const zero = of(split(d("v1", 1, ["v1"]), d("v2", 0, ["v2"])), [row("v1", 100)]);
  expect(zero.measured.map((m) => m.differs)).toEqual([false, false]);
});

test("without calls nothing is judged", () => {
  const c = of(split(d("v1", 0.5, ["v1"]), d("v2", 0.5, ["v2"])), []);
  expect(c.calls).toBe(0);
  expect(c.measured.map((m) => [m.share, m.range, m.differs])).toEqual([[null, null, false], [null, null, false]]);
});

test("workloads of a destination add up, calls to others are told apart", () => {
  const c = of(split(d("v1", 0.5, ["a", "b"]), d("v2", 0.5, ["c"])), [row("a", 20), row("b", 30), row("c", 50), row("unknown", 7), row("other", 3)]);
  expect(c.measured.map((m) => m.share)).toEqual([0.5, 0.5]);
  expect(c.lost).toBe(10);
  expect(c.calls).toBe(100);
});

test("connections count where there are no requests", () => {
  const c = of(split(d("v1", 0.5, ["a"]), d("v2", 0.5, ["c"])), [row("a", 0, { connections: 5 }), row("c", 0, { connections: 5 })]);
  expect(c.measured.map((m) => m.share)).toEqual([0.5, 0.5]);
});

test("destinations with a workload in common cannot be told apart", () => {
  const c = of(split(d("v1", 0.5, ["a", "b"]), d("all", 0.5, ["b"])), [row("a", 5), row("b", 5)]);
  expect(c.mixed).toBe(true);
  expect(c.measured.map((m) => [m.share, m.differs])).toEqual([[null, false], [null, false]]);
});

test("hosts outside of the mesh take all calls to them", () => {
  const outside = d("", 0.5, [], { service: "pay.example.com", namespace: "unknown", host: "pay.example.com" });
  const c = of(split(d("", 0.5, ["a"]), outside), [row("a", 10), row("unknown", 10, { namespace: "unknown", name: "pay.example.com" })]);
  expect(c.measured.map((m) => m.share)).toEqual([0.5, 0.5]);
  expect(c.lost).toBe(0);
});

test("other routes to the same service are said", () => {
  const s = split(d("v1", 1, ["a"]));
  expect(of(s, [], [s, split(d("v2", 1, ["b"]))]).shared).toBe(true);
  expect(of(s, [], [s]).shared).toBe(false);
});

test("the interval holds the true share 999 times of 1000", () => {
  // The exact chance that a sample of n with share p is judged to differ, by
  // adding the binomial's terms: it stays near one in a thousand.
  for (const [n, p] of [[50, 0.1], [200, 0.05], [1000, 0.2], [1000, 0.5]] as const) {
    let chance = 0;
    let log = n * Math.log(1 - p);
    for (let k = 0; k <= n; k++) {
      const [low, high] = wilson(k, n);
      if (p < low || p > high) chance += Math.exp(log);
      log += Math.log((n - k) / (k + 1)) + Math.log(p / (1 - p));
    }
    expect(chance).toBeLessThan(0.004);
  }
  expect(wilson(0, 10)[0]).toBe(0);
  expect(wilson(10, 10)[1]).toBe(1);
});
