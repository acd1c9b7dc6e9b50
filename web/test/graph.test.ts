import { expect, test } from "vitest";
import type { Edge, Now } from "../src/api.ts";
import { graphOf, shape } from "../src/graph/model.ts";
import { box, layout } from "../src/graph/layout.ts";
import { fitted, readable, zoomed } from "../src/graph/pan.ts";

const figures = { requests: 60, failed: 0, connections: 0, successRate: 1, requestsPerSecond: 1, receivedBytes: 0, sentBytes: 0, mutualTLS: 1 };
const unknown = { namespace: "unknown", workload: "unknown", identity: "unknown" };
const end = (workload: string, namespace = "n") => ({ namespace, workload, identity: "spiffe://x" });
const edge = (from: Edge["from"], to: Edge["to"], more: Partial<Edge> = {}): Edge => ({ from, to, by: "server", ...figures, ...more });
const now = (edges: Edge[], more: Partial<Now> = {}): Now => ({
  mesh: { name: "m", local: true }, at: "", windowSeconds: 60, unanswered: null, inventory: null, workloads: null, pods: null, services: null, routes: null, edges, callers: null, ejected: null, overflows: null, ...more,
});
const all = { namespace: "", idle: true };

test("what differs by identity and by who reports it is one edge", () => {
  const g = graphOf(now([
    edge(end("a"), end("b"), { requests: 90, latencyMilliseconds: { p50: 1, p95: 2, p99: 3 } }),
    edge({ ...end("a"), identity: "unknown" }, end("b"), { requests: 10, failed: 10, mutualTLS: 0, by: "clients", latencyMilliseconds: { p50: 9, p95: 9, p99: 9 } }),
  ]), all);
  expect(g.edges).toHaveLength(1);
  expect(g.edges[0]).toMatchObject({ requests: 100, failed: 10, successRate: 0.9, mutualTLS: 0.9, latencyMilliseconds: { p95: 2 }, requestsPerSecond: 2, tcp: false });
});

test("unknown callers are one node, and each host that was not reached is one", () => {
  const g = graphOf(now([
    edge(unknown, end("a")), edge({ ...unknown, namespace: "x" }, end("b")),
    edge(end("a"), { ...unknown, service: "h1" }), edge(end("a"), { ...unknown, service: "h2" }),
  ]), all);
  expect(g.nodes.map((n) => n.kind).sort()).toEqual(["callers", "host", "host", "workload", "workload"]);
});

test("connections without requests are TCP", () => {
  const g = graphOf(now([edge(end("a"), end("b"), { requests: 0, connections: 3, successRate: null })]), all);
  expect(g.edges[0]).toMatchObject({ tcp: true, successRate: null });
});

test("a service whose calls go to several workloads says which share each has", () => {
  const route = (to: string, share: number, version = "") => ({ namespace: "n", name: "reviews", to, version, share, ...figures });
  const g = graphOf(now([edge(end("a"), end("v1")), edge(end("a"), end("v2"))], {
    workloads: ["v1", "v2"].map((name) => ({ namespace: "n", name, ...figures })),
    routes: [route("v1", 0.5, "x"), route("v1", 0.2, "y"), route("v2", 0.25), route("unknown", 0.05)],
  }), all);
  expect(g.nodes.find((n) => n.name === "v1")?.split).toEqual([{ service: "reviews", share: 0.7 }]);
  expect(g.nodes.find((n) => n.name === "v2")?.split).toEqual([{ service: "reviews", share: 0.25 }]);
  expect(g.nodes.find((n) => n.name === "a")?.split).toEqual([]);
});

const pod = (namespace: string, name: string, proxy: string) => ({ namespace, name, workload: name, address: "", proxy, synced: "", ready: true, phase: "", restarts: 0, ageNanoseconds: 0 });

test("filters keep a namespace with whom it talks, and leave out the idle", () => {
  const m = now([edge(end("a", "one"), end("b", "two")), edge(end("c", "two"), end("d", "two"))], { inventory: [pod("one", "a", "sidecar"), pod("one", "still", "")] });
  const names = (choice: { namespace: string; idle: boolean }) => graphOf(m, choice).nodes.map((n) => n.name).sort();
  expect(names(all)).toEqual(["a", "b", "c", "d", "still"]);
  expect(names({ namespace: "one", idle: true })).toEqual(["a", "b", "still"]);
  expect(names({ namespace: "one", idle: false })).toEqual(["a", "b"]);
});

test("new figures do not move anything, a new edge does", () => {
  const one = graphOf(now([edge(end("a"), end("b"))]), all);
  const more = graphOf(now([edge(end("a"), end("b"), { requests: 5, requestsPerSecond: 7 })]), all);
  const other = graphOf(now([edge(end("a"), end("b")), edge(end("b"), end("a"))]), all);
  expect(shape(more)).toBe(shape(one));
  expect(shape(other)).not.toBe(shape(one));
});

test("the layout has a place for all, callers left of the called, and no two at one place", () => {
  const edges = [...Array(200).keys()].flatMap((i) => [2 * i + 1, 2 * i + 2].filter((j) => j < 200).map((j) => edge(end(`s${i}`), end(`s${j}`))));
  const g = graphOf(now([...edges, edge(end("loop"), end("loop"))], { inventory: [pod("n", "still", ""), pod("n", "alone", "")] }), all);
  const placed = layout(g);
  const at = g.nodes.map((n) => placed.nodes.get(n.id)!);
  expect(at).toHaveLength(203);
  for (const e of g.edges) {
    if (e.from !== e.to) expect(placed.nodes.get(e.from)!.x).toBeLessThan(placed.nodes.get(e.to)!.x);
    expect(placed.edges.get(e.id)!.points.length).toBeGreaterThan(1);
  }
  for (const [i, a] of at.entries()) {
    expect(a.x - box.width / 2).toBeGreaterThanOrEqual(-1);
    expect(a.x + box.width / 2).toBeLessThanOrEqual(placed.width + 1);
    for (const b of at.slice(i + 1)) expect(Math.abs(a.x - b.x) >= box.width || Math.abs(a.y - b.y) >= box.height).toBe(true);
  }
});

test("the view fits, stays readable at first, and zooms at a point", () => {
  const v = fitted({ width: 1000, height: 100 }, 540, 400);
  expect(v.k).toBe(0.5);
  expect(v.x).toBe(20);
  expect(readable({ width: 9000, height: 9000 }, 540, 400).k).toBe(0.6);
  expect(readable({ width: 100, height: 100 }, 540, 400).k).toBe(1);
  const z = zoomed({ x: 10, y: 10, k: 1 }, 2, { x: 110, y: 60 });
  expect([(110 - z.x) / z.k, (60 - z.y) / z.k]).toEqual([100, 50]);
  expect(zoomed(z, 1000, { x: 0, y: 0 }).k).toBe(3);
});
