import type { ComponentChildren } from "preact";
import type { Finding, MeshObject } from "../api.ts";
import { useData } from "../data.ts";
import { cut, shown } from "../format.ts";
import { Check, Find, Namespaces, Select } from "../parts/filters.tsx";
import { Name } from "../parts/name.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { to } from "../route.ts";
import { matches } from "../sort.ts";

export function Accepted({ object }: { object: MeshObject }) {
  return object.accepted ? <span class="health good">yes</span> : <span class="health bad">✕ no</span>;
}

// Programmed says on how many of the proxies that need it an object is live.
export function Programmed({ object }: { object: MeshObject }) {
  const on = `${object.live} of ${object.proxies}`;
  switch (object.programmed) {
    case "live":
      return <span class="health good">live <span class="muted">on {on}</span></span>;
    case "pending":
      return <span class="health poor">▲ pending <span class="muted">live on {on}</span></span>;
    case "refused":
      return <span class="health bad">✕ refused <span class="muted">live on {on}</span></span>;
    case "none":
      return <span class="muted" title="no connected proxy needs it">no proxy needs it</span>;
  }
  return <Name of={object.programmed} most={30} />;
}

const how = { error: "bad", warning: "poor", info: "idle" } as const;
const mark = { error: "✕", warning: "▲", info: "·" } as const;

// Findings say what is wrong, where, and what to do.
export function Findings({ of }: { of: Finding[] }) {
  return (
    <ul class="findings">
      {of.map((f, i) => (
        <li key={i}>
          <span class={`health ${how[f.severity]}`}>{mark[f.severity]} {f.severity}</span> <code>{shown(f.code)}</code>{" "}
          {f.path && <code class="path">{shown(f.path).slice(0, 300)}</code>}
          <p>{shown(f.message).slice(0, 2000)}{f.cure && <span class="cure"> {shown(f.cure).slice(0, 1000)}</span>}</p>
          {f.object.file && <p class="muted">{shown(f.object.file)}{f.object.line ? `:${f.object.line}` : ""}</p>}
        </li>
      ))}
    </ul>
  );
}

const columns: Column<MeshObject>[] = [
  { key: "name", title: "Name", cell: (o) => o.name, show: (o) => <Name of={o.name} href={to("object", o.kind, o.namespace, o.name)} /> },
  { key: "kind", title: "Kind", cell: (o) => o.kind },
  { key: "namespace", title: "Namespace", cell: (o) => o.namespace, show: (o) => <Name of={o.namespace} /> },
  { key: "accepted", title: "Accepted", hint: "no error was found in it", cell: (o) => o.accepted, show: (o) => <Accepted object={o} /> },
  { key: "programmed", title: "Programmed", hint: "the proxies that need it have it", cell: (o) => o.programmed, show: (o) => <Programmed object={o} /> },
  { key: "findings", title: "Findings", number: true, cell: (o) => (o.findings ?? []).length },
];

export function ObjectsTable({ objects, none }: { objects: MeshObject[]; none: ComponentChildren }) {
  return (
    <Table
      caption="Objects" rows={objects} columns={columns} sort="kind" id={(o) => `${o.kind}/${o.namespace}/${o.name}`} none={none}
      detail={(o) => ((o.findings ?? []).length > 0 ? <Findings of={o.findings!} /> : null)}
    />
  );
}

export function ObjectsPage() {
  const { config, now, place } = useData();
  const query = (name: string) => place.query.get(name) ?? "";
  const all = config.value?.objects ?? [];
  const kinds = [...new Set([...all.map((o) => o.kind), ...(query("kind") ? [query("kind")] : [])])].sort();
  const objects = all.filter((o) =>
    (!query("kind") || o.kind === query("kind")) && (!query("namespace") || o.namespace === query("namespace")) &&
    (query("findings") !== "1" || (o.findings ?? []).length > 0) && matches(query("find"), o.kind, o.namespace, o.name));
  return (
    <>
      <div class="head">
        <h1 tabIndex={-1}>Objects</h1>
        <div class="filters">
          <Find label="Find an object" value={query("find")} />
          <Select label="Kind" name="kind" value={query("kind")} options={[{ value: "", text: "all" }, ...kinds.map((k) => ({ value: k, text: cut(shown(k), 40) }))]} />
          <Namespaces value={query("namespace")} all={[...new Set(all.map((o) => o.namespace))].filter(Boolean)} />
          <Check label="With findings" name="findings" on={query("findings") === "1"} />
        </div>
      </div>
      {!config.value ? <p class="none" role="status">{config.failed ?? "Reading the objects…"}</p> : (
        <ObjectsTable objects={objects} none={all.length > 0 ? "No object fits these filters." : now.mesh.local ? "The mesh has no object of Istio's API: put one into its folder." : "The mesh has no object of Istio's API: kubectl apply one."} />
      )}
    </>
  );
}
