import type { ComponentChildren } from "preact";
import type { Edge, End } from "../api.ts";
import { to } from "../route.ts";
import { figures } from "./columns.tsx";
import { Name } from "./name.tsx";
import { type Column, Table } from "./table.tsx";

const identity = (uri: string) => (uri === "unknown" ? "" : uri);

function EndName({ end }: { end: End }) {
  if (end.workload !== "unknown") {
    return <><Name of={end.workload} href={to("workload", end.namespace, end.workload)} /><span class="muted">.<Name of={end.namespace} most={30} /></span></>;
  }
  return end.service ? <><Name of={end.service} /> <span class="muted">not reached</span></> : <span class="muted">unknown callers</span>;
}

const columns: Column<Edge>[] = [
  { key: "from", title: "From", cell: (e) => `${e.from.workload}.${e.from.namespace}`, show: (e) => <EndName end={e.from} /> },
  { key: "to", title: "To", cell: (e) => `${e.to.service ?? e.to.workload}.${e.to.namespace}`, show: (e) => <EndName end={e.to} /> },
  ...figures<Edge>(),
  {
    key: "identity", title: "Caller's identity", hint: "that its certificate proved", cell: (e) => identity(e.from.identity) || null,
    show: (e) => (identity(e.from.identity) ? <Name of={e.from.identity.replace(/^spiffe:\/\//, "")} most={44} /> : <span class="muted">not proven</span>),
  },
  { key: "by", title: "Counted by", cell: (e) => e.by },
];

// EdgesTable says in words all that the graph draws; callers: of one callee, which
// is said elsewhere.
export function EdgesTable({ caption, edges, none, callers }: { caption: string; edges: Edge[]; none: ComponentChildren; callers?: boolean }) {
  return (
    <Table
      caption={caption} rows={edges} columns={callers ? columns.filter((c) => c.key !== "to") : columns} none={none} sort="-rps"
      id={(e) => JSON.stringify([e.from, e.to, e.by])}
    />
  );
}
