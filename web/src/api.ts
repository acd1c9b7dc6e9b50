// What the server sends: internal/dashboard/api.go, internal/figures and
// internal/diag say the same in Go, with what each field means.

export interface Latency { p50: number; p95: number; p99: number }

export interface Figures {
  requests: number;
  failed: number;
  connections: number;
  successRate: number | null;
  requestsPerSecond?: number;
  latencyMilliseconds?: Latency;
  receivedBytes: number;
  sentBytes: number;
  receivedBytesPerSecond?: number;
  sentBytesPerSecond?: number;
  connectionsPerSecond?: number;
  mutualTLS: number | null;
}

export interface Row extends Figures {
  namespace: string;
  name: string;
  to?: string;
  version?: string;
  share?: number;
  by?: string;
  ejected?: number;
}

export interface End { namespace: string; workload: string; identity: string; service?: string }

export interface Edge extends Figures { from: End; to: End; by: string }

export interface Pod {
  namespace: string;
  name: string;
  workload: string;
  app?: string;
  version?: string;
  address: string;
  proxy: string;
  synced: string;
  ready: boolean;
  phase: string;
  restarts: number;
  ageNanoseconds: number;
  controlPlane?: boolean;
}

export interface Ejector { pod: string; reason?: string; since?: string; requests: number; failedRequests: number; failedConnections: number }

export interface Ejection {
  service: string;
  port: string;
  subset?: string;
  pod?: string;
  address: string;
  since: string;
  by: Ejector[];
}

export interface Overflow {
  service: string;
  port: string;
  subset?: string;
  caller: string;
  workload: string;
  limit: string;
  allowed?: number;
  times: number;
  since?: string;
  field?: string;
}

export interface Now {
  mesh: { name: string; local: boolean };
  at: string;
  windowSeconds: number;
  failed?: string;
  unanswered: string[] | null;
  inventory: Pod[] | null;
  workloads: Row[] | null;
  pods: Row[] | null;
  services: Row[] | null;
  routes: Row[] | null;
  edges: Edge[] | null;
  callers: Edge[] | null;
  ejected: Ejection[] | null;
  overflows: Overflow[] | null;
}

export interface Point {
  at: string;
  requestsPerSecond: number | null;
  successRate: number | null;
  p50: number | null;
  p95: number | null;
  p99: number | null;
  receivedBytesPerSecond: number | null;
  sentBytesPerSecond: number | null;
  connectionsPerSecond: number | null;
}

export interface History { stepSeconds: number; points: Point[] | null; from?: string; by?: string; failed?: string }

export type Severity = "error" | "warning" | "info";

export interface Finding {
  code: string;
  severity: Severity;
  object: { kind: string; namespace?: string; name: string; file?: string; line?: number };
  path?: string;
  message: string;
  cure?: string;
}

export interface MeshObject {
  kind: string;
  namespace: string;
  name: string;
  accepted: boolean;
  programmed: string;
  proxies: number;
  live: number;
  findings: Finding[] | null;
}

export interface Destination {
  host: string;
  service: string;
  namespace: string;
  subset?: string;
  share: number;
  workloads: string[] | null;
}

export interface Split {
  namespace: string;
  name: string;
  hosts: string[] | null;
  gateways: string[] | null;
  protocol: string;
  route: string;
  destinations: Destination[] | null;
}

export interface Config { at: string; failed?: string; objects: MeshObject[] | null; splits: Split[] | null }

// Unauthorized: the server does not know our token, or we have none.
export class Unauthorized extends Error {}

const tokenKey = "weft-token";

// takeToken moves the token from the address, where history would keep it, to
// this tab's storage. What a browser is opened with is no token, but is taken
// for one, once.
export async function takeToken(): Promise<void> {
  const [, kind, value] = /^#(token|once)=([^&]+)/.exec(location.hash) ?? [];
  if (!value) return;
  history.replaceState(null, "", location.pathname + "#/");
  if (kind === "token") {
    sessionStorage.setItem(tokenKey, value);
    return;
  }
  try {
    const answer = await fetch("api/token", { headers: { Authorization: `Once ${value}` }, signal: AbortSignal.timeout(60_000), cache: "no-store" });
    if (answer.ok) sessionStorage.setItem(tokenKey, ((await answer.json()) as { token: string }).token);
  } catch {
    // The page says what to do without a token.
  }
}

// watchToken takes a token also in a tab that the page is open in already: there
// a new address after # loads nothing.
export function watchToken(): void {
  addEventListener("hashchange", () => {
    if (/^#(token|once)=/.test(location.hash)) location.reload();
  });
}

// ask asks the server with our token.
async function ask(path: string, parameters: Record<string, string>, signal: AbortSignal): Promise<Response> {
  const token = sessionStorage.getItem(tokenKey);
  if (!token) throw new Unauthorized("no token");
  const query = new URLSearchParams(parameters).toString();
  let answer: Response;
  try {
    answer = await fetch(`api/${path}${query && "?" + query}`, { headers: { Authorization: `Bearer ${token}` }, signal, cache: "no-store" });
  } catch (e) {
    const late = e instanceof DOMException && e.name === "TimeoutError";
    throw new Error(late ? "weft dashboard did not answer in time" : "weft dashboard does not answer: does it still run?", { cause: e });
  }
  if (answer.status === 401) throw new Unauthorized("the token is not that of this server");
  if (!answer.ok) throw new Error((await answer.text()).trim().slice(0, 500) || `weft dashboard answered ${answer.status}`);
  return answer;
}

// get asks the server, for at most the time given.
export async function get(path: string, parameters: Record<string, string>, milliseconds = 10_000): Promise<Response> {
  return ask(path, parameters, AbortSignal.timeout(milliseconds));
}

export async function getJSON<T>(path: string, parameters: Record<string, string>): Promise<T> {
  return (await get(path, parameters)).json() as Promise<T>;
}

// Peer is one end of an Entry.
export interface Peer { namespace?: string; workload?: string; pod?: string; principal?: string; address?: string }

// Entry is one request, or one event of a TCP connection, as a pod's proxy tells
// it: internal/tap says what each field means.
export interface Entry {
  pod: string; // that tells it
  time: string; direction: string; event: string; from: Peer; to: Peer; protocol: string;
  method?: string; authority?: string; path?: string; status?: number; grpcStatus?: string; flags?: string; details?: string;
  deniedBy?: string; route?: string; attempts?: number; durationMs: number; receivedBytes: number; sentBytes: number; dropped?: number;
}

// lines asks for what goes on, and gives each line of it, until signal ends it or
// take throws.
export async function lines(path: string, parameters: Record<string, string>, signal: AbortSignal, take: (line: string) => void): Promise<void> {
  const answer = await ask(path, parameters, signal);
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let begun = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const all = (begun + value).split("\n");
      begun = all.pop()!;
      for (const line of all) if (line) take(line);
    }
  } finally {
    void reader.cancel().catch(() => {}); // it may have ended by itself
  }
}
