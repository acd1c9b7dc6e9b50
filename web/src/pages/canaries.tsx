import { type Canary, type Measured as Line, canary } from "../canary.ts";
import { useData, windowOf } from "../data.ts";
import type { Split } from "../api.ts";
import { count, cut, milliseconds, percent, rate, shown } from "../format.ts";
import { Success } from "../parts/figures.tsx";
import { Find, Namespaces, Windows } from "../parts/filters.tsx";
import { Name } from "../parts/name.tsx";
import { Measured } from "../graph/page.tsx";
import { to } from "../route.ts";
import { matches } from "../sort.ts";

export function CanariesPage() {
  const { now, config, place } = useData();
  const namespace = place.query.get("namespace") ?? "";
  const find = place.query.get("find") ?? "";
  const all = config.value?.splits ?? [];
  const splits = all.filter((s) => (!namespace || s.namespace === namespace) && matches(find, s.namespace, s.name, ...(s.hosts ?? [])));
  return (
    <>
      <div class="head">
        <h1 tabIndex={-1}>Canaries <Measured seconds={now.windowSeconds} /></h1>
        <div class="filters">
          <Find label="Find a split" value={find} />
          <Namespaces value={namespace} all={[...new Set(all.map((s) => s.namespace))]} />
          <Windows value={windowOf(place)} />
        </div>
      </div>
      {splits.length === 0 && (
        <p class="none">
          {!config.value ? config.failed ?? "Reading the objects…" : all.length > 0 ? "No split fits these filters." : <>No VirtualService splits calls yet: give one of its routes several destinations with a <code>weight</code>.</>}
        </p>
      )}
      {splits.map((s) => <Card key={`${s.namespace}/${s.name}/${s.protocol}/${s.route}`} of={canary(s, all, now)} />)}
      {splits.length > 0 && (
        <p class="muted note">
          How it is judged: a share is measured on as many calls as were counted, and chance moves it. Each row has the
          range (Wilson's interval) in which the true share lies in 999 of 1000 cases; where what is wanted is outside of it, the row is marked.
          A longer time narrows the range; after an edit of the weights wait until the time has passed.
        </p>
      )}
    </>
  );
}

function Card({ of }: { of: Canary }) {
  const { split, measured } = of;
  const gateways = (split.gateways ?? []).filter((g) => g !== "mesh");
  const off = measured.some((m) => m.differs);
  return (
    <section class="card">
      <h2>
        <Name of={split.name} most={40} href={to("object", "VirtualService", split.namespace, split.name)} />
        <small class="muted"> in <Name of={split.namespace} most={30} />, <Name of={split.protocol} most={10} /> route <Name of={split.route} most={30} /></small>
        <Verdict of={of} off={off} />
      </h2>
      <p class="muted">
        {(split.hosts ?? []).slice(0, 5).map((h, i) => <>{i > 0 && ", "}<Name of={h} most={50} /></>)}
        {(split.hosts ?? []).length > 5 && ` and ${split.hosts!.length - 5} more`}
        {gateways.length > 0 && <> through {gateways.slice(0, 3).map((g, i) => <>{i > 0 && ", "}<Name of={g} most={40} /></>)}</>}
      </p>
      <Bars title="wanted" parts={measured.map((m) => m.destination.share)} />
      <Bars title="measured" parts={of.mixed ? [] : measured.map((m) => m.share ?? 0)} />
      <Destinations lines={measured} split={split} />
      <Notes of={of} />
    </section>
  );
}

function Verdict({ of, off }: { of: Canary; off: boolean }) {
  if (of.mixed || of.calls === 0) return <span class="verdict idle">{of.mixed ? "cannot be told" : "no calls yet"}</span>;
  return off ? <span class="verdict bad">✕ differs from what is wanted</span> : <span class="verdict good">✓ as wanted</span>;
}

// Bars is one row of shares. The table below it says the same in words.
function Bars({ title, parts }: { title: string; parts: number[] }) {
  let x = 0;
  const total = parts.reduce((n, p) => n + p, 0);
  return (
    <div class="bars" aria-hidden="true">
      <span class="muted">{title}</span>
      <svg viewBox="0 0 1000 18" preserveAspectRatio="none">
        <rect class="rest" width="1000" height="18" />
        {total > 0 && parts.map((p, i) => {
          const width = (p / total) * 1000;
          const rect = <rect key={i} class={`part${i % 6}`} x={x} width={Math.max(0, width - (x + width < 999 ? 2 : 0))} height="18" />;
          x += width;
          return rect;
        })}
      </svg>
    </div>
  );
}

function Destinations({ lines, split }: { lines: Line[]; split: Split }) {
  return (
    <div class="scroll" role="region" aria-label={`Destinations of ${[split.namespace, split.name, split.protocol, split.route].map((n) => cut(shown(n), 40)).join(" ")}`} tabIndex={0}>
      <table class="canary">
        <caption class="unseen">Wanted and measured shares</caption>
        <thead>
          <tr>
            <th scope="col">Destination</th><th scope="col">Version</th><th scope="col" class="number">Wanted</th><th scope="col" class="number">Measured</th>
            <th scope="col" class="number" title="999 of 1000 samples of a split with this share lie in it">Range</th><th scope="col">Judged</th><th scope="col" class="number">Calls</th>
            <th scope="col" class="number">Calls/s</th><th scope="col" class="number">Success</th><th scope="col" class="number">P95</th>
          </tr>
        </thead>
        <tbody>{lines.map((m, i) => <Destination key={i} of={m} at={i} namespace={split.namespace} />)}</tbody>
      </table>
    </div>
  );
}

function Destination({ of, at, namespace }: { of: Line; at: number; namespace: string }) {
  const d = of.destination;
  const service = d.namespace === "unknown" ? undefined : to("service", d.namespace, d.service);
  return (
    <tr>
      <th scope="row">
        <svg width="10" height="10" aria-hidden="true"><rect class={`part${at % 6}`} width="10" height="10" rx="2" /></svg>{" "}
        <Name of={d.service} most={40} {...(service && { href: service })} />
        {d.namespace !== namespace && service && <span class="muted">.<Name of={d.namespace} most={30} /></span>}
        {d.subset && <span class="muted"> subset <Name of={d.subset} most={30} /></span>}
      </th>
      <td><Name of={of.versions.join(", ") || "–"} most={24} /></td>
      <td class="number">{percent(d.share)}</td>
      <td class="number"><b>{percent(of.share)}</b></td>
      <td class="number muted">{of.range ? `${percent(of.range[0])} – ${percent(of.range[1])}` : "–"}</td>
      <td>{of.range ? of.differs ? <span class="health bad">✕ differs</span> : <span class="health good">✓ as wanted</span> : <span class="muted">–</span>}</td>
      <td class="number">{count(of.calls)}</td>
      <td class="number">{rate(of.rate)}</td>
      <td class="number"><Success rate={of.success} /></td>
      <td class="number">{milliseconds(of.p95)}</td>
    </tr>
  );
}

function Notes({ of }: { of: Canary }) {
  return (
    <>
      {of.mixed && <p class="note">▲ Two destinations go to the same workloads, so what is measured of one is measured of the other too: their shares cannot be told apart.</p>}
      {of.lost > 0 && <p class="note">▲ {count(of.lost)} calls to these services reached none of the destinations' workloads, and are not in the shares.</p>}
      {of.shared && <p class="note muted">Other routes send calls to the same services: theirs are counted here too.</p>}
    </>
  );
}
