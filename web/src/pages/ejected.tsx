import type { Ejection, Overflow } from "../api.ts";
import { useData } from "../data.ts";
import { clock, count, span } from "../format.ts";
import { Name } from "../parts/name.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { to } from "../route.ts";

function PodName({ of }: { of: string }) {
  const [namespace = "", name = ""] = of.split("/", 2);
  return <><Name of={name} href={to("pod", namespace, name)} /><span class="muted">.<Name of={namespace} most={30} /></span></>;
}

// why says an event of Envoy's outlier detection in words.
function why(reason: string): string {
  const known: Record<string, string> = {
    consecutive_5xx: "5xx in a row", consecutive_gateway_failure: "gateway errors in a row", consecutive_local_origin_failure: "failed connections in a row",
    unknown: "a reason that nobody saw",
  };
  return Object.hasOwn(known, reason) ? known[reason]! : reason.replaceAll("_", " ");
}

const columns = (at: string): Column<Ejection>[] => [
  { key: "pod", title: "Host", cell: (e) => e.pod ?? e.address, show: (e) => (e.pod ? <PodName of={e.pod} /> : <Name of={e.address} />) },
  { key: "address", title: "Address", cell: (e) => e.address, show: (e) => <Name of={e.address} /> },
  { key: "service", title: "Service", cell: (e) => e.service, show: (e) => <ServiceName of={e} /> },
  { key: "since", title: "Since", hint: "since the first of these proxies leaves it out; where none says when, since this dashboard saw it", cell: (e) => e.since, show: (e) => (clock(e.since) ? `${clock(e.since)} (${span((Date.parse(at) - Date.parse(e.since)) / 1000)})` : "–") },
  {
    key: "by", title: "By", hint: "the proxies that leave it out, why, and what they counted of it", cell: (e) => (e.by ?? []).length,
    show: (e) => (
      <ul class="plain">
        {(e.by ?? []).slice(0, 20).map((b) => (
          <li key={b.pod}><PodName of={b.pod} />{b.reason && <> for <Name of={why(b.reason)} most={60} /></>} <span class="muted">{count(b.failedRequests)} of {count(b.requests)} requests failed, {count(b.failedConnections)} connections</span></li>
        ))}
        {(e.by ?? []).length > 20 && <li class="muted">and {e.by.length - 20} more</li>}
      </ul>
    ),
  },
];

// ServiceName is a service's host, port and subset.
function ServiceName({ of }: { of: { service: string; port: string; subset?: string } }) {
  return <><Name of={of.service} />:<Name of={of.port} most={20} />{of.subset && <span class="muted"> subset <Name of={of.subset} most={30} /></span>}</>;
}

const limitColumns = (at: string): Column<Overflow>[] => [
  { key: "service", title: "Service", cell: (o) => o.service, show: (o) => <ServiceName of={o} /> },
  { key: "caller", title: "Caller", hint: "whose proxy met it", cell: (o) => o.caller, show: (o) => <PodName of={o.caller} /> },
  { key: "limit", title: "Limit", cell: (o) => o.limit, show: (o) => <><Name of={o.limit.replaceAll("_", " ")} most={40} />{o.allowed ? <span class="muted"> of {count(o.allowed)}</span> : ""}</> },
  { key: "times", title: "Times", hint: "since the caller's agent started", number: true, cell: (o) => o.times, show: (o) => count(o.times) },
  {
    key: "since", title: "Met since", hint: "at least once a minute", cell: (o) => o.since,
    show: (o) => (o.since && clock(o.since) ? <span class="health bad">✕ {clock(o.since)} ({span((Date.parse(at) - Date.parse(o.since)) / 1000)})</span> : <span class="muted">not now</span>),
  },
  { key: "field", title: "Raise", hint: "field of the DestinationRule's trafficPolicy", cell: (o) => o.field, show: (o) => (o.field ? <code>{o.field}</code> : "–") },
];

// overflowing are the limits that are met now.
export const overflowing = (all: Overflow[] | null) => (all ?? []).filter((o) => o.since);

// EjectedPage says which hosts are left out, by whom, and why, and which limits are
// met.
export function EjectedPage() {
  const { now } = useData();
  return (
    <>
      <div class="head"><h1 tabIndex={-1}>Ejected hosts and limits</h1></div>
      <p class="muted">A proxy leaves out a host that fails too often, by the <code>outlierDetection</code> of a DestinationRule, and tries it again after a while.</p>
      <Table
        caption="Ejected hosts" rows={now.ejected ?? []} columns={columns(now.at)} sort="service" none="No proxy leaves out any host."
        id={(e) => `${e.service}/${e.port}/${e.subset ?? ""}/${e.address}`}
      />
      <h2>Limits that were met</h2>
      <p class="muted">A proxy sends a service no more at once than the <code>connectionPool</code> of a DestinationRule allows, and answers what is beyond with 503 and the flag <code>UO</code>.</p>
      <Table
        caption="Limits that were met" rows={now.overflows ?? []} columns={limitColumns(now.at)} sort="service" none="No proxy met a limit since its agent started."
        id={(o) => `${o.service}/${o.port}/${o.subset ?? ""}/${o.limit}/${o.caller}`}
      />
    </>
  );
}
