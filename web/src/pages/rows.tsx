import type { Pod, Row } from "../api.ts";
import { namespacesOf, useData, windowOf } from "../data.ts";
import { span } from "../format.ts";
import { ejected, figures, named } from "../parts/columns.tsx";
import { Empty, empty } from "../parts/empty.tsx";
import { Tag } from "../parts/figures.tsx";
import { Find, Namespaces, Windows } from "../parts/filters.tsx";
import { Name } from "../parts/name.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { Measured } from "../graph/page.tsx";
import { to } from "../route.ts";
import { matches } from "../sort.ts";

export type Kind = "workloads" | "services" | "pods";

const titles: Record<Kind, string> = { workloads: "Workloads", services: "Services", pods: "Pods" };
const singular: Record<Kind, string> = { workloads: "Workload", services: "Service", pods: "Pod" };

// Line is a row of figures with what the inventory knows of it.
export interface Line extends Row { pod?: Pod | undefined; pods: Pod[] }

const blank = { requests: 0, failed: 0, connections: 0, successRate: null, receivedBytes: 0, sentBytes: 0, mutualTLS: null };

// linesOf adds to the rows those of the inventory that have no figures.
export function linesOf(kind: Kind, rows: Row[], inventory: Pod[]): Line[] {
  if (kind === "services") return rows.map((r) => ({ ...r, pods: [] }));
  const nameOf = (p: Pod) => (kind === "pods" ? p.name : p.workload || p.name);
  const pods = new Map<string, Pod[]>();
  for (const p of inventory) {
    const key = `${p.namespace}/${nameOf(p)}`;
    pods.set(key, [...(pods.get(key) ?? []), p]);
  }
  const known = new Set(rows.map((r) => `${r.namespace}/${r.name}`));
  const line = (r: Row): Line => {
    const of = pods.get(`${r.namespace}/${r.name}`) ?? [];
    return { ...r, pod: of[0], pods: of };
  };
  const rest = [...pods].filter(([key]) => !known.has(key)).map(([, of]) => ({ namespace: of[0]!.namespace, name: nameOf(of[0]!), ...blank }));
  return [...rows, ...rest].map(line);
}

// ProxyTag is a pod's proxy. That the control plane has none is as it should be.
export function ProxyTag({ pod }: { pod: Pod | undefined }) {
  if (!pod) return <span class="muted">–</span>;
  if (pod.controlPlane) return <span class="muted" title="the control plane's own pods need no proxy">control plane</span>;
  return pod.proxy ? <Name of={pod.proxy} most={20} /> : <Tag text="no proxy" kind="poor" />;
}

const versions = (r: Line) => [...new Set(r.pods.map((p) => p.version ?? "").filter(Boolean))].sort().join(", ");

export const podColumns: Column<Line>[] = [
  {
    key: "ready", title: "Ready", cell: (r) => r.pod?.ready,
    show: (r) => (!r.pod ? "–" : r.pod.ready ? "yes" : <span class="health bad">✕ <Name of={r.pod.phase || "no"} most={24} /></span>),
  },
  { key: "proxy", title: "Proxy", cell: (r) => r.pod?.proxy, show: (r) => <ProxyTag pod={r.pod} /> },
  {
    key: "synced", title: "Synced", hint: "the proxy has the newest configuration", cell: (r) => r.pod?.synced,
    show: (r) => (r.pod?.synced === "no" ? <span class="health poor">▲ no</span> : <Name of={r.pod?.synced || "–"} most={20} />),
  },
  { key: "restarts", title: "Restarts", number: true, cell: (r) => r.pod?.restarts },
  { key: "age", title: "Age", number: true, cell: (r) => r.pod?.ageNanoseconds, show: (r) => (r.pod ? span(r.pod.ageNanoseconds / 1e9) : "–") },
];

const special: Record<Kind, Column<Line>[]> = {
  services: [],
  workloads: [
    { key: "version", title: "Version", cell: versions, show: (r) => <Name of={versions(r) || "–"} most={20} /> },
    {
      key: "ready", title: "Pods", hint: "ready, of all", number: true, cell: (r) => r.pods.length,
      show: (r) => {
        const ready = r.pods.filter((p) => p.ready).length;
        return r.pods.length === 0 ? "–" : ready < r.pods.length ? <span class="health poor">▲ {ready}/{r.pods.length}</span> : `${ready}/${r.pods.length}`;
      },
    },
    { key: "proxy", title: "Proxy", cell: (r) => r.pod?.proxy, show: (r) => <ProxyTag pod={r.pod} /> },
  ],
  pods: podColumns,
};

export function columnsOf(kind: Kind): Column<Line>[] {
  const page = kind.slice(0, -1);
  return [
    ...named<Line>(singular[kind], (r) => to(page, r.namespace, r.name)),
    ...(kind === "services" ? [] : special[kind].slice(0, kind === "pods" ? 3 : undefined)),
    ...figures<Line>(),
    ...(kind === "services" ? [] : [ejected as Column<Line>]),
    ...(kind === "pods" ? special.pods.slice(3) : []),
  ];
}

export function RowsPage({ kind }: { kind: Kind }) {
  const { now, place } = useData();
  const namespace = place.query.get("namespace") ?? "";
  const find = place.query.get("find") ?? "";
  const lines = linesOf(kind, now[kind] ?? [], now.inventory ?? [])
    .filter((r) => (!namespace || r.namespace === namespace) && matches(find, r.namespace, r.name, r.pod?.version));
  return (
    <>
      <div class="head">
        <h1 tabIndex={-1}>{titles[kind]} <Measured seconds={now.windowSeconds} /></h1>
        <div class="filters">
          <Find label={`Find a ${kind.slice(0, -1)}`} value={find} />
          <Namespaces value={namespace} all={namespacesOf(now)} />
          <Windows value={windowOf(place)} />
        </div>
      </div>
      {empty(now) ? <Empty local={now.mesh.local} /> : (
        <Table
          caption={titles[kind]} rows={lines} columns={columnsOf(kind)} sort="name" id={(r) => `${r.namespace}/${r.name}`}
          none={find || namespace ? `No ${kind.slice(0, -1)} fits these filters.` : kind === "services" ? "Nobody called a service in this time." : `There is no ${kind.slice(0, -1)}.`}
        />
      )}
    </>
  );
}
