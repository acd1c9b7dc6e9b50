import type { Edge, Figures, Now, Pod } from "../api.ts";

// The graph as it is drawn: a node for each workload, one for all callers
// that nobody knows, and one for each host whose calls reached no workload.

export interface GraphNode {
  id: string;
  kind: "workload" | "callers" | "host";
  namespace: string;
  name: string;
  app: string;
  version: string;
  proxy: string; // sidecar, gateway, proxyless, control: of Weft itself, without one; "": none
  ejected: number;
  split: Part[]; // of services whose calls go to several workloads
}

// Part is which share of a service's calls goes to a workload.
export interface Part { service: string; share: number }

export interface GraphEdge extends Figures {
  id: string;
  from: string;
  to: string;
  tcp: boolean; // nothing but connections
}

export interface Graph { nodes: GraphNode[]; edges: GraphEdge[] }

export interface Choice { namespace: string; idle: boolean } // idle: show those whom nobody calls and who call nobody

const callers = "callers";
const nobody = "unknown";

function endID(edge: Edge, side: "from" | "to"): string {
  const end = edge[side];
  if (end.workload !== nobody) return `w/${end.namespace}/${end.workload}`;
  return side === "from" ? callers : `h/${end.service ?? nobody}`;
}

// graphOf joins what is known of workloads, pods, routes and calls. With a
// namespace chosen it keeps the workloads of it and those they talk with.
export function graphOf(now: Now, choice: Choice): Graph {
  const nodes = new Map<string, GraphNode>();
  const add = (node: GraphNode) => {
    if (!nodes.has(node.id)) nodes.set(node.id, node);
  };
  for (const node of workloads(now)) add(node);
  const inside = (edge: Edge) => !choice.namespace || edge.from.namespace === choice.namespace || edge.to.namespace === choice.namespace;
  const edges = merged((now.edges ?? []).filter(inside));
  for (const edge of now.edges ?? []) {
    if (!inside(edge)) continue;
    add(endNode(edge, "from"));
    add(endNode(edge, "to"));
  }
  const called = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
  const kept = [...nodes.values()].filter((n) => called.has(n.id) || (choice.idle && (!choice.namespace || n.namespace === choice.namespace)));
  return { nodes: kept.sort((a, b) => (a.id < b.id ? -1 : 1)), edges };
}

function endNode(edge: Edge, side: "from" | "to"): GraphNode {
  const end = edge[side];
  const blank = { app: "", version: "", proxy: nobody, ejected: 0, split: [] };
  const id = endID(edge, side);
  if (id === callers) return { id, kind: "callers", namespace: "", name: "unknown callers", ...blank };
  if (end.workload === nobody) return { id, kind: "host", namespace: "", name: end.service ?? nobody, ...blank };
  return { id, kind: "workload", namespace: end.namespace, name: end.workload, ...blank };
}

// workloads of the inventory, which knows those without a proxy, and of rows.
function workloads(now: Now): GraphNode[] {
  const pods = new Map<string, Pod>();
  for (const pod of now.inventory ?? []) {
    const id = `w/${pod.namespace}/${pod.workload || pod.name}`;
    if (!pods.get(id)?.proxy) pods.set(id, pod);
  }
  const rows = new Map((now.workloads ?? []).map((row) => [`w/${row.namespace}/${row.name}`, row]));
  const parts = partsOf(now);
  const node = (id: string, namespace: string, name: string, pod: Pod | undefined): GraphNode => ({
    id, kind: "workload", namespace, name,
    app: pod?.app ?? "", version: pod?.version ?? "", proxy: pod ? (pod.controlPlane ? "control" : pod.proxy) : nobody,
    ejected: rows.get(id)?.ejected ?? 0, split: parts.get(id) ?? [],
  });
  return [
    ...[...pods].map(([id, pod]) => node(id, pod.namespace, pod.workload || pod.name, pod)),
    ...[...rows].filter(([id]) => !pods.has(id)).map(([id, row]) => node(id, row.namespace, row.name, undefined)),
  ];
}

// partsOf finds the services whose calls go to several workloads, or should:
// one that gets nothing of a split has no row.
function partsOf(now: Now): Map<string, Part[]> {
  const services = new Map<string, Map<string, number>>();
  for (const route of now.routes ?? []) {
    if (!route.to || route.to === nobody || route.share == null) continue;
    const service = `${route.namespace}/${route.name}`;
    const to = services.get(service) ?? new Map<string, number>();
    services.set(service, to.set(route.to, (to.get(route.to) ?? 0) + route.share));
  }
  const parts = new Map<string, Part[]>();
  for (const [service, to] of services) {
    if (to.size < 2) continue;
    const [namespace, name] = service.split("/", 2) as [string, string];
    for (const [workload, share] of to) {
      const id = `w/${namespace}/${workload}`;
      parts.set(id, [...(parts.get(id) ?? []), { service: name, share }]);
    }
  }
  return parts;
}

// merged are the edges between two nodes as one: they differ by who reports
// them and by what identities were proven.
function merged(edges: Edge[]): GraphEdge[] {
  const pairs = new Map<string, Edge[]>();
  for (const edge of edges) {
    const id = endID(edge, "from") + ">" + endID(edge, "to");
    pairs.set(id, [...(pairs.get(id) ?? []), edge]);
  }
  return [...pairs]
    .map(([id, of]) => ({ id, from: endID(of[0]!, "from"), to: endID(of[0]!, "to"), ...sum(of) }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

// sum adds figures up. Quantiles do not add up: those of the most requests
// stand for all.
export function sum(of: Figures[]): Figures & { tcp: boolean } {
  const total = (f: (x: Figures) => number | undefined) => of.reduce((n, x) => n + (f(x) ?? 0), 0);
  const requests = total((x) => x.requests);
  const failed = total((x) => x.failed);
  const connections = total((x) => x.connections);
  const told = of.filter((x) => x.mutualTLS != null);
  const weight = (x: Figures) => x.requests + x.connections;
  const all = told.reduce((n, x) => n + weight(x), 0);
  const most = of.filter((x) => x.latencyMilliseconds).sort((a, b) => b.requests - a.requests)[0];
  return {
    requests, failed, connections,
    successRate: requests > 0 ? (requests - failed) / requests : null,
    mutualTLS: all > 0 ? told.reduce((n, x) => n + x.mutualTLS! * weight(x), 0) / all : null,
    requestsPerSecond: total((x) => x.requestsPerSecond),
    connectionsPerSecond: total((x) => x.connectionsPerSecond),
    receivedBytes: total((x) => x.receivedBytes),
    sentBytes: total((x) => x.sentBytes),
    receivedBytesPerSecond: total((x) => x.receivedBytesPerSecond),
    sentBytesPerSecond: total((x) => x.sentBytesPerSecond),
    ...(most?.latencyMilliseconds && { latencyMilliseconds: most.latencyMilliseconds }),
    tcp: requests === 0 && connections > 0,
  };
}

// shape is what the layout depends on: while it stays, nothing moves.
export function shape(graph: Graph): string {
  return [...graph.nodes.map((n) => n.id), "", ...graph.edges.map((e) => e.id)].join("\n");
}
