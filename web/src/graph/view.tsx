import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Row } from "../api.ts";
import { bytes, cut, health, milliseconds, percent, rate, shown, sign } from "../format.ts";
import { PadlockShape } from "../parts/figures.tsx";
import { matches } from "../sort.ts";
import { to } from "../route.ts";
import { type Layout, type Point, box, curve, label, layout, loop } from "./layout.ts";
import { type Graph, type GraphEdge, type GraphNode, shape } from "./model.ts";
import { type View, useView } from "./pan.ts";

interface Props { graph: Graph; rows: Row[]; find: string }

// GraphView draws the graph. All that it tells is in the table below it too, so
// that it is one picture to who cannot see it.
export function GraphView({ graph, rows, find }: Props) {
  const key = shape(graph);
  const placed = useMemo(() => layout(graph), [key]);
  const [hover, setHover] = useState("");
  const frame = useRef<HTMLDivElement>(null);
  const { view, zoom, fit, centre } = useView(frame, placed, key);
  const success = useMemo(() => new Map(rows.map((r) => [`w/${r.namespace}/${r.name}`, r])), [rows]);
  const found = find.trim() ? graph.nodes.filter((n) => matches(find, n.namespace, n.name, n.version)) : null;
  const first = found?.[0]?.id;
  useEffect(() => {
    const at = first && placed.nodes.get(first);
    if (at) centre(at);
  }, [first]);
  const lit = new Set(found?.map((n) => n.id));
  const dimmed = (...ids: string[]) => (found !== null && !ids.some((id) => lit.has(id))) || (hover !== "" && !near(graph, hover, ids));
  return (
    <div class="graph">
      <div class="frame" ref={frame} tabIndex={0} role="group" aria-label="Graph: arrows move it, plus and minus zoom, 0 shows all">
        <svg role="img" aria-label={`${graph.nodes.length} workloads and ${graph.edges.length} ways of calls between them; the table below says the same`} class={view.k < 0.4 ? "far" : ""}>
          <Marks />
          <g transform={`translate(${view.x} ${view.y}) scale(${view.k})`}>
            {graph.edges.map((e) => <EdgeLine key={e.id} edge={e} at={placed.edges.get(e.id)} dim={dimmed(e.from, e.to)} />)}
            {graph.nodes.map((n) => (
              <NodeBox key={n.id} node={n} row={success.get(n.id)} at={placed.nodes.get(n.id)} dim={dimmed(n.id)} hover={setHover} />
            ))}
            {graph.edges.map((e) => <EdgeLabel key={e.id} edge={e} at={placed.edges.get(e.id)?.label} dim={dimmed(e.from, e.to)} />)}
          </g>
        </svg>
      </div>
      <div class="zoom">
        <button type="button" aria-label="Zoom in" onClick={() => zoom(1.3)}>+</button>
        <button type="button" aria-label="Zoom out" onClick={() => zoom(1 / 1.3)}>−</button>
        <button type="button" aria-label="Fit: show all of the graph" onClick={fit}>Fit</button>
      </div>
    </div>
  );
}

// near says whether one of the nodes is the one pointed at, or both ends of an
// edge are it and a neighbour.
function near(graph: Graph, at: string, ids: string[]): boolean {
  return ids.includes(at) || (ids.length === 1 && graph.edges.some((e) => (e.from === at && e.to === ids[0]) || (e.to === at && e.from === ids[0])));
}

const ends = ["good", "poor", "bad", "idle"] as const;

function Marks() {
  return (
    <defs>
      {ends.map((how) => (
        <marker key={how} id={`end-${how}`} class={`mark ${how}`} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
          <path d="M0,0.5L8,4L0,7.5Z" />
        </marker>
      ))}
      <clipPath id="inside"><rect x={-box.width / 2 + 8} y={-box.height / 2} width={box.width - 12} height={box.height} /></clipPath>
    </defs>
  );
}

const quiet = (e: GraphEdge) => e.requests + e.connections === 0;
const healthOf = (e: GraphEdge) => (quiet(e) ? "idle" : e.tcp ? "good" : health(e.successRate));

function EdgeLine({ edge, at, dim }: { edge: GraphEdge; at: { points: Point[] } | undefined; dim: boolean }) {
  if (!at) return null;
  const how = healthOf(edge);
  return <path class={`edge ${how}${edge.tcp ? " tcp" : ""}${dim ? " dim" : ""}`} d={edge.from === edge.to ? loop(at.points) : curve(at.points)} marker-end={`url(#end-${how})`} />;
}

function EdgeLabel({ edge, at, dim }: { edge: GraphEdge; at: Point | undefined; dim: boolean }) {
  if (!at || quiet(edge)) return null;
  const how = healthOf(edge);
  const total = (edge.receivedBytesPerSecond ?? 0) + (edge.sentBytesPerSecond ?? 0);
  const second = edge.tcp ? "TCP" : milliseconds(edge.latencyMilliseconds?.p95);
  const part = edge.mutualTLS != null && edge.mutualTLS > 0 && edge.mutualTLS < 1 ? ` ${percent(edge.mutualTLS)}` : "";
  return (
    <g class={`label ${how}${dim ? " dim" : ""}`} transform={`translate(${at.x} ${at.y})`}>
      <title>{told(edge)}</title>
      <rect x={-label.width / 2} y={-label.height / 2} width={label.width} height={label.height} rx="4" />
      {edge.tcp
        ? <text y="-3">{bytes(total)}/s</text>
        : <text y="-3">{rate(edge.requestsPerSecond)}/s · <tspan class="rate">{sign[how]}{sign[how] && " "}{percent(edge.successRate)}</tspan></text>}
      <text y="11" x={edge.mutualTLS != null ? 8 : 0} class="second">{second}{part}</text>
      {edge.mutualTLS != null && (
        <g class={edge.mutualTLS >= 1 ? "lock good" : edge.mutualTLS > 0 ? "lock poor" : "lock open"} transform={`translate(${-(second.length + part.length) * 3.3 - 8} 1.5) scale(0.85)`}>
          <PadlockShape share={edge.mutualTLS} />
        </g>
      )}
    </g>
  );
}

// told is all of an edge in words, for the pointer that rests on it.
function told(e: GraphEdge): string {
  const l = e.latencyMilliseconds;
  return [
    e.requests > 0 && `${rate(e.requestsPerSecond)} requests/s, ${percent(e.successRate)} succeed`,
    l && `p50 ${milliseconds(l.p50)}, p95 ${milliseconds(l.p95)}, p99 ${milliseconds(l.p99)}`,
    e.connections > 0 && `${rate(e.connectionsPerSecond)} TCP connections/s`,
    `${bytes(e.receivedBytesPerSecond)}/s received, ${bytes(e.sentBytesPerSecond)}/s sent by the server`,
    e.mutualTLS != null && `mutual TLS: ${percent(e.mutualTLS)}`,
  ].filter(Boolean).join("\n");
}

interface NodeProps { node: GraphNode; row: Row | undefined; at: Point | undefined; dim: boolean; hover: (id: string) => void }

function NodeBox({ node, row, at, dim, hover }: NodeProps) {
  if (!at) return null;
  const how = health(row?.successRate);
  const page = node.kind === "workload" ? to("workload", node.namespace, node.name) : "";
  const second = node.kind === "workload" ? [node.namespace, node.version].filter(Boolean).join(" · ") : node.kind === "host" ? "outside, or not reached" : "no identity was proven";
  return (
    <g
      class={`node ${node.kind} ${how}${node.proxy === "gateway" ? " gateway" : ""}${dim ? " dim" : ""}`} transform={`translate(${at.x} ${at.y})`}
      onPointerEnter={() => hover(node.id)} onPointerLeave={() => hover("")}
      onClick={() => { if (page) location.hash = page; }}
    >
      <title>{shown([node.namespace, node.name, node.app && `app ${node.app}`, node.version && `version ${node.version}`].filter(Boolean).join("\n"))}</title>
      <rect class="body" x={-box.width / 2} y={-box.height / 2} width={box.width} height={box.height} rx="6" />
      <rect class="stripe" x={-box.width / 2} y={-box.height / 2 + 8} width="4" height={box.height - 16} rx="1" />
      <g clip-path="url(#inside)">
        <text class="name" x={-box.width / 2 + 14} y="-11">{sign[how] && <tspan class="rate">{sign[how]} </tspan>}{cut(shown(node.name), sign[how] ? 15 : 17)}</text>
        <text class="where" x={-box.width / 2 + 14} y="5">{cut(shown(second), 26)}</text>
        <Badges node={node} />
      </g>
    </g>
  );
}

function Badges({ node }: { node: GraphNode }) {
  const words: [string, string][] = [];
  if (node.ejected > 0) words.push(["bad", `✕ ${node.ejected} ejected`]);
  if (node.proxy === "gateway") words.push(["", "gateway"]);
  if (node.proxy === "" && node.kind === "workload") words.push(["poor", "no proxy"]);
  if (node.proxy === "control") words.push(["", "control plane"]);
  if (node.proxy === "proxyless") words.push(["", "gRPC"]);
  for (const part of node.split) words.push(["part", `${percent(part.share)} of ${cut(shown(part.service), 14)}`]);
  return (
    <text class="badges" x={-box.width / 2 + 14} y="21">
      {words.map(([kind, word], i) => <tspan key={word} class={kind}>{i > 0 && " · "}{word}</tspan>)}
    </text>
  );
}

export type { Layout, View };
