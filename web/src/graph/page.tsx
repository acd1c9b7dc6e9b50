import { useMemo, useRef } from "preact/hooks";
import type { Edge, Now } from "../api.ts";
import { namespacesOf, useData, windowOf } from "../data.ts";
import { span } from "../format.ts";
import { Empty, empty } from "../parts/empty.tsx";
import { Check, Find, Namespaces, Windows } from "../parts/filters.tsx";
import { EdgesTable } from "../parts/edges.tsx";
import { matches } from "../sort.ts";
import { graphOf } from "./model.ts";
import { GraphView } from "./view.tsx";

export function GraphPage() {
  const { now, place } = useData();
  const namespace = place.query.get("namespace") ?? "";
  const find = place.query.get("find") ?? "";
  const hide = place.query.get("idle") === "1";
  const all = useRemembered(now, hide);
  const graph = useMemo(() => graphOf({ ...now, edges: all }, { namespace, idle: !hide }), [now, all, namespace, hide]);
  const edges = (now.edges ?? []).filter((e) =>
    (!namespace || e.from.namespace === namespace || e.to.namespace === namespace) &&
    matches(find, e.from.namespace, e.from.workload, e.to.namespace, e.to.workload, e.to.service));
  return (
    <>
      <div class="head">
        <h1 tabIndex={-1}>Graph</h1>
        <div class="filters">
          <Find label="Find a workload" value={find} />
          <Namespaces value={namespace} all={namespacesOf(now)} />
          <Windows value={windowOf(place)} />
          <Check label="Hide idle" name="idle" on={hide} />
        </div>
      </div>
      {empty(now) ? <Empty local={now.mesh.local} /> : (
        <>
          {graph.nodes.length === 0
            ? <p class="none">No workload is left by these filters{hide && ": nobody called anybody in this time"}.</p>
            : <GraphView graph={graph} rows={now.workloads ?? []} find={find} />}
          <h2>Who calls whom <Measured seconds={now.windowSeconds} /></h2>
          <EdgesTable caption="Who calls whom" edges={edges} none={find || namespace ? "No call fits these filters." : "Nobody called anybody in this time."} />
        </>
      )}
    </>
  );
}

// Measured says of what time the figures are, which may be less than was asked.
export function Measured({ seconds }: { seconds: number }) {
  return <small class="muted">{seconds > 0 ? `in the last ${span(Math.max(1, seconds))}` : "nothing was counted yet"}</small>;
}

// useRemembered keeps the edges that were seen before, without figures: the
// picture should not jump whenever somebody calls nobody for some seconds.
function useRemembered(now: Now, forget: boolean): Edge[] {
  const seen = useRef(new Map<string, Edge>());
  return useMemo(() => {
    const present = new Map((now.edges ?? []).map((e) => [keyOf(e), e]));
    for (const [key, edge] of present) seen.current.set(key, still(edge));
    if (forget) return [...present.values()];
    return [...seen.current].map(([key, edge]) => present.get(key) ?? edge);
  }, [now, forget]);
}

const keyOf = (e: Edge) => JSON.stringify([e.from, e.to, e.by]);

const still = ({ from, to, by }: Edge): Edge => ({
  from, to, by, requests: 0, failed: 0, connections: 0, successRate: null, receivedBytes: 0, sentBytes: 0, mutualTLS: null,
});
