import type { Ejection } from "../api.ts";
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
  { key: "service", title: "Service", cell: (e) => e.service, show: (e) => <><Name of={e.service} />:<Name of={e.port} most={20} />{e.subset && <span class="muted"> subset <Name of={e.subset} most={30} /></span>}</> },
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

// EjectedPage says which hosts are left out, by whom, and why.
export function EjectedPage() {
  const { now } = useData();
  return (
    <>
      <div class="head"><h1 tabIndex={-1}>Ejected hosts</h1></div>
      <p class="muted">A proxy leaves out a host that fails too often, by the <code>outlierDetection</code> of a DestinationRule, and tries it again after a while.</p>
      <Table
        caption="Ejected hosts" rows={now.ejected ?? []} columns={columns(now.at)} sort="service" none="No proxy leaves out any host."
        id={(e) => `${e.service}/${e.port}/${e.subset ?? ""}/${e.address}`}
      />
    </>
  );
}
