import type { Config, Now } from "../api.ts";
import { clock, shown } from "../format.ts";
import type { Polled } from "../poll.ts";
import { overflowing } from "../pages/ejected.tsx";
import type { Place } from "../route.ts";
import { openHelp } from "./help.tsx";
import { Name } from "./name.tsx";

const pages: [string, string, string[]][] = [
  ["", "Graph", []],
  ["workloads", "Workloads", ["workload"]],
  ["services", "Services", ["service"]],
  ["pods", "Pods", ["pod"]],
  ["canaries", "Canaries", []],
  ["objects", "Objects", ["object"]],
];

// Top is the bar above each page, and the banners below it.
export function Top({ now, config, place }: { now: Polled<Now>; config: Polled<Config>; place: Place }) {
  const mesh = now.value?.mesh;
  const wrong = (config.value?.objects ?? []).filter((o) => !o.accepted || o.programmed === "refused").length;
  const window = place.query.get("window");
  return (
    <header>
      <div class="bar">
        <a class="brand" href="#/"><img src="./favicon.svg" alt="" width="20" height="20" />Weft</a>
        {mesh && <span class="mesh"><span class="muted">{mesh.local ? "local mesh " : "cluster "}</span><Name of={mesh.name} most={32} /></span>}
        <nav aria-label="Pages">
          {pages.map(([page, text, below]) => (
            <a key={page} href={`#/${page}${window ? `?window=${window}` : ""}`} aria-current={place.page === page ? "page" : below.includes(place.page) ? "true" : undefined}>
              {text}
              {page === "objects" && wrong > 0 && <span class="count bad" title={`${wrong} with errors`}>✕ {wrong}<span class="unseen"> with errors</span></span>}
            </a>
          ))}
        </nav>
        <State now={now} />
        <button type="button" class="plain" onClick={openHelp}><span class="word">Help </span><kbd>?</kbd></button>
      </div>
      <Banners now={now} config={config} />
    </header>
  );
}

function State({ now }: { now: Polled<Now> }) {
  const value = now.value;
  if (!value) return <span class="state" />;
  const silent = value.unanswered ?? [];
  const ejected = (value.ejected ?? []).length;
  const limits = overflowing(value.overflows).length;
  return (
    <span class="state">
      {ejected > 0 && <a class="health bad" href="#/ejected">✕ {ejected} ejected</a>}
      {limits > 0 && <a class="health bad" href="#/ejected">✕ {limits} limit{limits > 1 && "s"} met</a>}
      {silent.length > 0 && (
        <details>
          <summary class="health poor">▲ {silent.length} unanswered</summary>
          <ul class="popover">{silent.slice(0, 50).map((s) => <li key={s}>{shown(s).slice(0, 400)}</li>)}</ul>
        </details>
      )}
      <span class={now.failed ? "live lost" : "live"} title="time of the last look at the proxies">
        <span class="dot" aria-hidden="true" />{clock(value.at) || "first look…"}
      </span>
    </span>
  );
}

// Banners tell what is wrong with the figures themselves.
function Banners({ now, config }: { now: Polled<Now>; config: Polled<Config> }) {
  const at = now.value && clock(now.value.at);
  return (
    <div role="status" aria-live="polite">
      {now.failed && (
        <p class="banner bad">
          <strong>Connection lost.</strong> {shown(now.failed)}. {at && `The figures are of ${at}. `}Trying again every 2 s.{" "}
          <button type="button" onClick={now.again}>Try now</button>
        </p>
      )}
      {!now.failed && now.value?.failed && (
        <p class="banner poor"><strong>The newest look failed.</strong> {shown(now.value.failed).slice(0, 500)}. {at ? `The figures are of ${at}.` : ""}</p>
      )}
      {!now.failed && (config.failed || config.value?.failed) && (
        <p class="banner poor"><strong>The objects could not be read anew.</strong> {shown(config.failed || config.value?.failed || "").slice(0, 500)}</p>
      )}
    </div>
  );
}
