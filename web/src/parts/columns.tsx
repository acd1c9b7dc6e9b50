import type { Figures, Row } from "../api.ts";
import { bytes, milliseconds, rate } from "../format.ts";
import { Padlock, Success } from "./figures.tsx";
import { Name } from "./name.tsx";
import type { Column } from "./table.tsx";

// figures are the columns of golden figures, as weft stat has them.
export function figures<T extends Figures>(): Column<T>[] {
  const latency = (q: "p50" | "p95" | "p99"): Column<T> => ({
    key: q, title: q.toUpperCase(), hint: `${q.slice(1)}% of the requests took at most this long`, number: true,
    cell: (r) => r.latencyMilliseconds?.[q], show: (r) => milliseconds(r.latencyMilliseconds?.[q]),
  });
  return [
    { key: "success", title: "Success", hint: "of the requests", number: true, cell: (r) => r.successRate, show: (r) => <Success rate={r.successRate} /> },
    { key: "rps", title: "Req/s", hint: "requests a second", number: true, cell: (r) => r.requestsPerSecond, show: (r) => rate(r.requestsPerSecond) },
    latency("p50"), latency("p95"), latency("p99"),
    { key: "in", title: "In/s", hint: "bytes a second that the server received", number: true, cell: (r) => r.receivedBytesPerSecond, show: (r) => bytes(r.receivedBytesPerSecond) },
    { key: "out", title: "Out/s", hint: "bytes a second that the server sent", number: true, cell: (r) => r.sentBytesPerSecond, show: (r) => bytes(r.sentBytesPerSecond) },
    { key: "tcp", title: "TCP/s", hint: "TCP connections opened a second", number: true, cell: (r) => r.connectionsPerSecond, show: (r) => rate(r.connectionsPerSecond) },
    { key: "mtls", title: "mTLS", hint: "share of requests and connections by mutual TLS", number: true, cell: (r) => r.mutualTLS, show: (r) => <Padlock share={r.mutualTLS} /> },
  ];
}

// named is the first column: the row's name, with a link to its page.
export function named<T extends { namespace: string; name: string }>(title: string, href: (r: T) => string): Column<T>[] {
  return [
    { key: "name", title, cell: (r) => r.name, show: (r) => <Name of={r.name} href={href(r)} /> },
    { key: "namespace", title: "Namespace", cell: (r) => r.namespace, show: (r) => <Name of={r.namespace} /> },
  ];
}

export const ejected: Column<Row> = {
  key: "ejected", title: "Ejected", hint: "pods of it that some proxy leaves out", number: true,
  cell: (r) => r.ejected, show: (r) => (r.ejected ? <a class="health bad" href="#/ejected">✕ {r.ejected}</a> : 0),
};
