import { useMemo } from "preact/hooks";
import { type History, type Now, type Overflow, type Row, getJSON } from "../api.ts";
import { useData, windowOf } from "../data.ts";
import { bytes, milliseconds, percent, rate, shown, span } from "../format.ts";
import { lines, some } from "../history.ts";
import { usePoll } from "../poll.ts";
import { Chart } from "../parts/chart.tsx";
import { EdgesTable } from "../parts/edges.tsx";
import { figures } from "../parts/columns.tsx";
import { Padlock, Success } from "../parts/figures.tsx";
import { Windows } from "../parts/filters.tsx";
import { Name } from "../parts/name.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { Tap } from "../parts/tap.tsx";
import { Measured } from "../graph/page.tsx";
import { to } from "../route.ts";
import { overflowing } from "./ejected.tsx";
import { ObjectsTable } from "./objects.tsx";
import { type Kind, type Line, ProxyTag, columnsOf, linesOf } from "./rows.tsx";

interface Props { kind: string; namespace: string; name: string }

const words: Record<string, string> = { workloads: "Workload", services: "Service", pods: "Pod" };

// RowPage is all about one workload, service or pod.
export function RowPage({ kind, namespace, name }: Props) {
  const { now, place } = useData();
  const of = kind as Kind;
  const line = linesOf(of, now[of] ?? [], now.inventory ?? []).find((r) => r.namespace === namespace && r.name === name);
  const history = usePoll<History>(`${kind}/${namespace}/${name}`, () => getJSON("history", { kind, namespace, name }), 10_000);
  return (
    <>
      <div class="head">
        <div>
          <p class="crumb"><a href={`#/${kind}`}>{words[kind]}s</a></p>
          <h1 tabIndex={-1}><Name of={name} most={48} /> <small class="muted">in <Name of={namespace} most={32} /></small></h1>
        </div>
        <div class="filters"><Windows value={windowOf(place)} /></div>
      </div>
      {line ? <Facts line={line} kind={of} now={now} /> : (
        <p class="none">No such {words[kind]?.toLowerCase()} runs, and nobody called it in this time.</p>
      )}
      <Charts history={history.value} failed={history.failed} />
      <Tap key={`${kind}/${namespace}/${name}`} kind={kind.replace(/s$/, "")} namespace={namespace} name={name} />
      <Around of={of} namespace={namespace} name={name} line={line} />
    </>
  );
}

// concerns says whether a limit bounds calls to a service, or calls of a workload or pod.
function concerns(o: Overflow, kind: Kind, { namespace, name }: Line): boolean {
  switch (kind) {
    case "services": return o.service === name || o.service.startsWith(`${name}.${namespace}.svc.`);
    case "pods": return o.caller === `${namespace}/${name}`;
    case "workloads": return o.caller.startsWith(`${namespace}/`) && (o.workload || o.caller.slice(namespace.length + 1)) === name;
  }
}

function Facts({ line, kind, now }: { line: Line; kind: Kind; now: Now }) {
  const l = line.latencyMilliseconds;
  const pod = line.pod;
  const met = overflowing(now.overflows).filter((o) => concerns(o, kind, line)).length;
  return (
    <dl class="facts" aria-label="Figures now">
      <div><dt>Success</dt><dd><Success rate={line.successRate} /></dd></div>
      <div><dt>Requests/s</dt><dd>{rate(line.requestsPerSecond)}</dd></div>
      <div><dt>P50 / P95 / P99</dt><dd>{l ? `${milliseconds(l.p50)} / ${milliseconds(l.p95)} / ${milliseconds(l.p99)}` : "–"}</dd></div>
      {line.connections > 0 && <div><dt>TCP/s</dt><dd>{rate(line.connectionsPerSecond)}</dd></div>}
      <div><dt>mTLS</dt><dd><Padlock share={line.mutualTLS} /></dd></div>
      {kind !== "services" && <div><dt>Ejected</dt><dd>{line.ejected ? <a class="health bad" href="#/ejected">✕ {line.ejected}</a> : "none"}</dd></div>}
      <div><dt>Limits met</dt><dd>{met ? <a class="health bad" href="#/ejected">✕ {met}</a> : "none"}</dd></div>
      {pod && <div><dt>Proxy</dt><dd><ProxyTag pod={pod} /></dd></div>}
      {pod?.app && <div><dt>App</dt><dd><Name of={pod.app} most={32} />{pod.version && kind === "pods" && <> <span class="tag"><Name of={pod.version} most={24} /></span></>}</dd></div>}
      {kind === "pods" && pod && <div><dt>Address</dt><dd><Name of={pod.address || "–"} /></dd></div>}
      {kind === "pods" && pod && <div><dt>Age, restarts</dt><dd>{span(pod.ageNanoseconds / 1e9)}, {pod.restarts}</dd></div>}
      <div><dt>Figures</dt><dd><Measured seconds={now.windowSeconds} /></dd></div>
    </dl>
  );
}

const perSecond = (v: number | null) => (v === null ? "–" : rate(v) + "/s");
const bytesPerSecond = (v: number | null) => (v === null ? "–" : bytes(v) + "/s");

function Charts({ history, failed }: { history: History | null; failed: string | null }) {
  const d = useMemo(() => history && lines(history), [history]);
  if (!d) return <p class="none">{failed ?? "Asking for the last hour…"}</p>;
  const away = history?.failed && (
    <p class="banner poor"><strong>Prometheus is not to be had.</strong> {shown(history.failed).slice(0, 500)}. The charts begin when this dashboard did.</p>
  );
  if (d.at.length === 0) return <><h2>The last hour</h2>{away}<p class="none">Nothing was counted yet: a chart begins when the dashboard does.</p></>;
  return (
    <>
      <h2>The last hour<small class="muted"> {history?.from === "recorder" ? `as Prometheus ${shown(history.by ?? "").slice(0, 200)} has it` : "since this dashboard began"}</small></h2>
      {away}
      <div class="charts">
        <Chart title="Requests" at={d.at} say={perSecond} lines={[{ label: "rate", values: d.rate, ink: 1 }]} />
        <Chart title="Success" at={d.at} top={100} say={(v) => percent(v === null ? null : v / 100)} lines={[{ label: "of requests", values: d.success, ink: 1 }]} />
        <Chart title="Latency" at={d.at} say={milliseconds} lines={[
          { label: "p50", values: d.p50, ink: 1 }, { label: "p95", values: d.p95, ink: 2, dash: [6, 3] }, { label: "p99", values: d.p99, ink: 3, dash: [2, 3] },
        ]} />
        <Chart title="Bytes" at={d.at} say={bytesPerSecond} lines={[
          { label: "received", values: d.received, ink: 1 }, { label: "sent", values: d.sent, ink: 2, dash: [6, 3] },
        ]} />
        {some(d.tcp) && <Chart title="TCP connections" at={d.at} say={perSecond} lines={[{ label: "opened", values: d.tcp, ink: 1 }]} />}
      </div>
    </>
  );
}

const routeColumns: Column<Row>[] = [
  {
    key: "to", title: "Workload", cell: (r) => r.to,
    show: (r) => (r.to === "unknown" ? <span class="muted">reached nobody</span> : <Name of={r.to ?? ""} href={to("workload", r.namespace, r.to ?? "")} />),
  },
  { key: "version", title: "Version", cell: (r) => r.version, show: (r) => <Name of={r.version && r.version !== "unknown" ? r.version : "–"} most={24} /> },
  { key: "share", title: "Share", number: true, cell: (r) => r.share, show: (r) => percent(r.share) },
  ...figures<Row>(),
];

// Around is whom it has to do with: callers, called, pods and objects.
function Around({ of, namespace, name, line }: { of: Kind; namespace: string; name: string; line: Line | undefined }) {
  const { now, config } = useData();
  const routes = (now.routes ?? []).filter((r) => of === "services" && r.namespace === namespace && r.name === name);
  const mine = of === "services" ? new Set(routes.map((r) => r.to ?? "")) : new Set([of === "pods" ? line?.pod?.workload || name : name]);
  const isMine = (end: { namespace: string; workload: string }) => end.namespace === namespace && end.workload !== "unknown" && mine.has(end.workload);
  const edges = now.edges ?? [];
  const pods = linesOf("pods", now.pods ?? [], now.inventory ?? []).filter((p) => p.namespace === namespace && mine.has(p.pod?.workload || p.name));
  const whose = of === "workloads" ? "it" : of === "pods" ? "its workload" : "its workloads";
  const objects = (config.value?.objects ?? []).filter((o) => o.namespace === namespace);
  return (
    <>
      {of === "services" && <>
        <h2>Where its calls go</h2>
        <Table caption="Where its calls go" rows={routes} columns={routeColumns} sort="-share" id={(r) => `${r.to}/${r.version}`} none="Nobody called it in this time." />
      </>}
      {of === "services" && <>
        <h2>Who calls it by its name</h2>
        <EdgesTable callers caption="Who calls it by its name" edges={(now.callers ?? []).filter((e) => e.to.namespace === namespace && e.to.service === name)} none="Nobody did in this time." />
      </>}
      <h2>Who calls {whose}{of === "services" && ", by any name"}</h2>
      <EdgesTable caption={`Who calls ${whose}`} edges={edges.filter((e) => isMine(e.to))} none="Nobody did in this time." />
      {of !== "services" && <>
        <h2>Whom {of === "pods" ? "its workload" : "it"} calls</h2>
        <EdgesTable caption={`Whom ${whose} calls`} edges={edges.filter((e) => isMine(e.from))} none="Nobody in this time." />
      </>}
      {of !== "pods" && <>
        <h2>Pods</h2>
        <Table caption="Pods" rows={pods} columns={columnsOf("pods").filter((c) => c.key !== "namespace")} sort="name" id={(p) => p.name} none="None runs." />
      </>}
      <h2>Objects in its namespace</h2>
      <ObjectsTable objects={objects} none={config.value ? "There is none." : "They were not read yet."} />
    </>
  );
}
