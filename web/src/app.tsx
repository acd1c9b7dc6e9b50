import { useEffect, useRef } from "preact/hooks";
import { type Config, type Now, getJSON } from "./api.ts";
import { DataContext, windowOf } from "./data.ts";
import { type Polled, usePoll } from "./poll.ts";
import { type Place, usePlace } from "./route.ts";
import { Help, openHelp } from "./parts/help.tsx";
import { Top } from "./parts/top.tsx";
import { GraphPage } from "./graph/page.tsx";
import { RowsPage } from "./pages/rows.tsx";
import { RowPage } from "./pages/row.tsx";
import { CanariesPage } from "./pages/canaries.tsx";
import { ObjectsPage } from "./pages/objects.tsx";
import { ObjectPage } from "./pages/object.tsx";
import { EjectedPage } from "./pages/ejected.tsx";

export function App() {
  const place = usePlace();
  const window = windowOf(place);
  const now = usePoll<Now>(window, () => getJSON("now", { window }), 2_000);
  const config = usePoll<Config>("config", () => getJSON("config", {}), 10_000);
  useKeys();
  useFocus(place);
  if (now.unauthorized) return <Locked again={now.again} />;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.querySelector("main")?.focus(); }}>Skip to the page</a>
      <Top now={now} config={config} place={place} />
      <main id="main" tabIndex={-1} data-place={location.hash.replace(/\?.*/, "")}>
        {now.value ? <Page now={now.value} config={config} place={place} /> : <Waiting now={now} />}
      </main>
      <Help />
    </>
  );
}

function Page({ now, config, place }: { now: Now; config: Polled<Config>; place: Place }) {
  return <DataContext.Provider value={{ now, config, place }}>{pageOf(place)}</DataContext.Provider>;
}

function pageOf({ page, parts }: Place) {
  const key = [page, ...parts].join("/");
  switch (page) {
    case "":
      return <GraphPage />;
    case "workloads":
    case "services":
    case "pods":
      return <RowsPage key={key} kind={page} />;
    case "workload":
    case "service":
    case "pod":
      return <RowPage key={key} kind={`${page}s`} namespace={parts[0] ?? ""} name={parts[1] ?? ""} />;
    case "canaries":
      return <CanariesPage />;
    case "objects":
      return <ObjectsPage />;
    case "object":
      return <ObjectPage key={key} kind={parts[0] ?? ""} namespace={parts[1] ?? ""} name={parts[2] ?? ""} />;
    case "ejected":
      return <EjectedPage />;
  }
  return <><h1 tabIndex={-1}>No such page</h1><p><a href="#/">To the graph</a></p></>;
}

function Waiting({ now }: { now: Polled<Now> }) {
  return <p class="none" role="status">{now.failed ? "Nothing was received yet." : "Asking the proxies…"}</p>;
}

function Locked({ again }: { again: () => void }) {
  return (
    <main class="locked">
      <h1>This page needs its token</h1>
      <p>
        Run <code>weft dashboard</code> again, and open the address that it prints: it ends in <code>#token=…</code>. A
        token holds for one run of the command and one tab.
      </p>
      <button type="button" onClick={again}>Try again</button>
    </main>
  );
}

// useFocus tells who cannot see it that the page is another one now.
function useFocus(place: Place) {
  const key = [place.page, ...place.parts].join("/");
  const first = useRef(true);
  useEffect(() => {
    const heading = document.querySelector<HTMLElement>("main h1");
    document.title = (heading?.textContent ?? "").slice(0, 80) + " · Weft";
    if (!first.current) {
      scrollTo(0, 0);
      heading?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [key]);
}

function useKeys() {
  useEffect(() => {
    const pressed = (e: KeyboardEvent) => {
      const typing = e.target instanceof HTMLElement && e.target.matches("input, select, textarea");
      if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === "?") openHelp();
      const find = document.getElementById("find");
      if (e.key === "/" && find) {
        e.preventDefault();
        find.focus();
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}
