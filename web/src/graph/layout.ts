import dagre from "@dagrejs/dagre";
import type { Graph } from "./model.ts";

export const box = { width: 184, height: 60 };
export const label = { width: 98, height: 32 };
const gap = 36;

export interface Point { x: number; y: number }
export interface Layout {
  width: number;
  height: number;
  nodes: Map<string, Point>; // the centre
  edges: Map<string, { points: Point[]; label: Point }>;
}

// layout places each connected part of the graph by itself, from callers on the
// left to the called on the right, and the parts in rows below one another.
export function layout(graph: Graph, aspect = 1.6): Layout {
  const out: Layout = { width: 0, height: 0, nodes: new Map(), edges: new Map() };
  const { parts, alone } = split(graph);
  const placed = parts.map((ids) => part(graph, new Set(ids)));
  const area = placed.reduce((n, p) => n + (p.width + gap) * (p.height + gap), 0) + alone.length * (box.width + gap) * (box.height + gap);
  const width = Math.max(Math.sqrt(area * aspect), ...placed.map((p) => p.width));
  const shelf = { x: 0, y: 0, height: 0 };
  const put = (w: number, h: number): Point => {
    if (shelf.x > 0 && shelf.x + w > width) Object.assign(shelf, { x: 0, y: shelf.y + shelf.height + gap, height: 0 });
    const at = { x: shelf.x, y: shelf.y };
    shelf.x += w + gap;
    shelf.height = Math.max(shelf.height, h);
    out.width = Math.max(out.width, at.x + w);
    out.height = Math.max(out.height, at.y + h);
    return at;
  };
  for (const p of placed.sort((a, b) => b.height - a.height)) {
    const at = put(p.width, p.height);
    const move = ({ x, y }: Point) => ({ x: x + at.x, y: y + at.y });
    for (const [id, point] of p.nodes) out.nodes.set(id, move(point));
    for (const [id, e] of p.edges) out.edges.set(id, { points: e.points.map(move), label: move(e.label) });
  }
  for (const id of alone) {
    const at = put(box.width, box.height);
    out.nodes.set(id, { x: at.x + box.width / 2, y: at.y + box.height / 2 });
  }
  return out;
}

// split finds the connected parts, in the order of their first nodes.
function split(graph: Graph): { parts: string[][]; alone: string[] } {
  const near = new Map<string, string[]>(graph.nodes.map((n) => [n.id, []]));
  for (const e of graph.edges) {
    near.get(e.from)!.push(e.to);
    near.get(e.to)!.push(e.from);
  }
  const seen = new Set<string>();
  const parts: string[][] = [];
  const alone: string[] = [];
  for (const [start, others] of near) {
    if (others.length === 0) alone.push(start);
    if (others.length === 0 || seen.has(start)) continue;
    const found = [start];
    seen.add(start);
    for (let i = 0; i < found.length; i++) {
      for (const next of near.get(found[i]!)!) {
        if (!seen.has(next)) found.push(next);
        seen.add(next);
      }
    }
    parts.push(found);
  }
  return { parts, alone };
}

function part(graph: Graph, ids: Set<string>): Layout {
  const g = new dagre.graphlib.Graph({ multigraph: true });
  // The tight-tree ranker is as good here as the default, and many times
  // faster on hundreds of nodes.
  g.setGraph({ rankdir: "LR", nodesep: 22, ranksep: 84, edgesep: 14, ranker: ids.size > 60 ? "tight-tree" : "network-simplex" });
  for (const id of ids) g.setNode(id, { ...box });
  const edges = graph.edges.filter((e) => ids.has(e.from));
  for (const e of edges) g.setEdge(e.from, e.to, { ...label, labelpos: "c" }, e.id);
  dagre.layout(g);
  const whole = g.graph() as { width?: number; height?: number };
  return {
    width: whole.width ?? 0,
    height: whole.height ?? 0,
    nodes: new Map([...ids].map((id) => [id, { x: g.node(id).x!, y: g.node(id).y! }])),
    edges: new Map(edges.map((e) => {
      const line = g.edge({ v: e.from, w: e.to, name: e.id }) as { points: Point[]; x: number; y: number };
      return [e.id, { points: e.from === e.to ? line.points : ends(around(line.points, line), g.node(e.from) as Point, g.node(e.to) as Point), label: { x: line.x, y: line.y } }];
    })),
  };
}

// curve is an SVG path through the points that leaves and enters each of them
// level, as the boxes are beside one another.
export function curve(points: Point[]): string {
  return points.reduce((path, p, i) => {
    const before = points[i - 1];
    if (!before) return `M${at(p)}`;
    const middle = (before.x + p.x) / 2;
    return `${path}C${at({ x: middle, y: before.y })} ${at({ x: middle, y: p.y })} ${at(p)}`;
  }, "");
}

// loop is the path of an edge that ends where it begins.
export function loop(points: Point[]): string {
  const [first, ...rest] = points;
  return first ? `M${at(first)}${rest.map((p) => `L${at(p)}`).join("")}` : "";
}

const at = ({ x, y }: Point) => `${x.toFixed(1)},${y.toFixed(1)}`;

// around lets a line pass level through its label, so that it does not turn
// behind its own or another's.
function around(points: Point[], { x, y }: Point): Point[] {
  const half = (points.at(-1)!.x >= points[0]!.x ? label.width : -label.width) / 2;
  return points.flatMap((p) => (p.x === x && p.y === y ? [{ x: x - half, y }, { x: x + half, y }] : [p]));
}

// ends puts the ends of an edge on the sides of its boxes that face each other.
function ends(points: Point[], from: Point, to: Point): Point[] {
  const side = to.x > from.x ? box.width / 2 : -box.width / 2;
  const inner = points.slice(1, -1);
  return from.x === to.x ? points : [{ x: from.x + side, y: from.y }, ...inner, { x: to.x - side, y: to.y }];
}
