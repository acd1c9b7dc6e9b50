import { useEffect, useRef, useState } from "preact/hooks";
import { type Entry, type Peer, lines } from "../api.ts";
import { bytes, milliseconds, shown } from "../format.ts";
import { Name } from "./name.tsx";

// kept is how many requests stay on the page.
const kept = 200;

interface Seen extends Entry { key: number }

// Tap shows the requests of a workload, service or pod as they end, newest
// first, while somebody wants to see them.
export function Tap({ kind, namespace, name }: { kind: string; namespace: string; name: string }) {
  const [path, setPath] = useState("");
  const [status, setStatus] = useState("");
  const [wanted, setWanted] = useState<{ path: string; status: string } | null>(null);
  const { seen, why, dropped, notice } = useTap(wanted && { kind, namespace, name, ...wanted });
  const begin = (e: Event) => {
    e.preventDefault();
    setWanted(wanted ? null : { path, status });
  };
  return (
    <>
      <h2>Live requests</h2>
      <form class="filters tap" onSubmit={begin}>
        <label class="field"><span>Path begins</span><input type="text" value={path} placeholder="/" autocomplete="off" spellcheck={false} disabled={!!wanted} onInput={(e) => setPath(e.currentTarget.value)} /></label>
        <label class="field"><span>Status</span>
          <select value={status} disabled={!!wanted} onChange={(e) => setStatus(e.currentTarget.value)}>
            <option value="">any</option>
            {["2xx", "3xx", "4xx", "5xx"].map((s) => <option key={s} value={s}>{s}</option>)}
          </select>
        </label>
        <button type="submit" aria-pressed={!!wanted}>{wanted ? "Stop" : "Watch"}</button>
        {dropped > 0 && <span class="health poor">▲ {dropped} left out: too fast to show</span>}
      </form>
      {why && <p class="banner poor" role="status">{shown(why).slice(0, 500)}</p>}
      {wanted && notice && <p class="muted" role="status">{shown(notice).slice(0, 500)}</p>}
      {seen.length > 0 && <Entries seen={seen} />}
      {seen.length === 0 && !why && <p class="none">{wanted ? "Watching: each request comes here when it ends." : "Nothing is watched. The proxies tell nothing until then."}</p>}
    </>
  );
}

// Tapped is what was told: entries, why it ended, how many were left out, and
// what was said of the pods last.
interface Tapped { seen: Seen[]; why: string | null; dropped: number; notice: string | null }

const nothing: Tapped = { seen: [], why: null, dropped: 0, notice: null };

// useTap reads entries while query is there.
function useTap(query: Record<string, string> | null): Tapped {
  const [state, set] = useState(nothing);
  const count = useRef(0);
  const key = query && JSON.stringify(query);
  useEffect(() => {
    if (!key) return;
    const end = new AbortController();
    set(nothing);
    let waiting: Seen[] = [];
    const draw = () => {
      if (waiting.length === 0) return;
      const fresh = waiting;
      waiting = [];
      set((old) => ({ ...old, seen: [...fresh.reverse(), ...old.seen].slice(0, kept), dropped: old.dropped + fresh.reduce((n, e) => n + (e.dropped ?? 0), 0) }));
    };
    const timer = window.setInterval(draw, 250); // however many come
    const take = (line: string) => {
      const entry = JSON.parse(line) as Entry & { error?: string; notice?: string };
      if (entry.error) throw new Error(entry.error);
      if (entry.notice) {
        const notice = entry.notice;
        set((old) => ({ ...old, notice }));
        return;
      }
      waiting.push({ ...entry, key: count.current++ });
      if (waiting.length > kept) waiting.shift();
    };
    lines("tap", JSON.parse(key) as Record<string, string>, end.signal, take)
      .then(() => "It ended: the proxy has gone, or weft dashboard.", (e: unknown) => (e instanceof Error ? e.message : String(e)))
      .then((why) => { if (!end.signal.aborted) { draw(); set((old) => ({ ...old, why })); } });
    return () => { end.abort(); clearInterval(timer); };
  }, [key]);
  return state;
}

function Entries({ seen }: { seen: Seen[] }) {
  return (
    <div class="scroll" role="region" aria-label="Live requests" tabIndex={0}>
      <table>
        <caption class="unseen">Live requests, newest first</caption>
        <thead><tr>
          {["Began", "From", "To", "Asked", "Status"].map((t) => <th key={t} scope="col">{t}</th>)}
          <th scope="col" class="number">Took</th><th scope="col" class="number">Bytes in, out</th><th scope="col">More</th>
        </tr></thead>
        <tbody>{seen.map((e) => <Line key={e.key} of={e} />)}</tbody>
      </table>
    </div>
  );
}

function Line({ of: e }: { of: Entry }) {
  const asked = e.event === "request" ? `${e.method ?? "?"} ${e.authority ?? ""}${e.path ?? ""}` : `${e.protocol} ${e.event}`;
  const bad = (e.status ?? 200) >= 500 || (e.status === 0 && e.event === "request");
  return (
    <tr>
      <td>{new Date(e.time).toLocaleTimeString("en-GB")}</td>
      <td><End of={e.from} /></td>
      <td><End of={e.to} /></td>
      <td><Name of={asked} most={70} /></td>
      <td>{e.event === "request" ? <span class={bad ? "health bad" : undefined}>{bad && "✕ "}{e.status ?? 0}{e.grpcStatus ? ` ${shown(e.grpcStatus)}` : ""}</span> : "–"}</td>
      <td class="number">{milliseconds(e.durationMs)}</td>
      <td class="number">{bytes(e.receivedBytes)}, {bytes(e.sentBytes)}</td>
      <td><Name of={more(e)} most={60} /></td>
    </tr>
  );
}

function End({ of }: { of: Peer }) {
  return <Name of={of.pod || of.workload || of.principal || of.address || "–"} most={40} />;
}

// more is what else is known, the reason of a failure first.
function more(e: Entry): string {
  const details = e.details && e.details !== "via_upstream" ? e.details : "";
  return [e.deniedBy && `denied by ${e.deniedBy}`, e.flags && e.flags !== "-" && e.flags, !e.deniedBy && details, e.route && `route ${e.route}`, (e.attempts ?? 0) > 1 && `${e.attempts} attempts`]
    .filter(Boolean).join(", ") || "–";
}
