import { get } from "../api.ts";
import { useData } from "../data.ts";
import { shown } from "../format.ts";
import { usePoll } from "../poll.ts";
import { Name } from "../parts/name.tsx";
import { Accepted, Findings, Programmed } from "./objects.tsx";

// ObjectPage is one object: its state, what was found in it, and its text.
export function ObjectPage({ kind, namespace, name }: { kind: string; namespace: string; name: string }) {
  const { config } = useData();
  const object = (config.value?.objects ?? []).find((o) => o.kind === kind && o.namespace === namespace && o.name === name);
  const text = usePoll<string>(`${kind}/${namespace}/${name}`, async () => (await get("object", { kind, namespace, name })).text(), 10_000);
  return (
    <>
      <div class="head">
        <div>
          <p class="crumb"><a href="#/objects">Objects</a> / <a href={`#/objects?kind=${encodeURIComponent(kind)}`}><Name of={kind} most={40} /></a></p>
          <h1 tabIndex={-1}><Name of={name} most={48} /> <small class="muted">in <Name of={namespace} most={32} /></small></h1>
        </div>
      </div>
      {object && (
        <dl class="facts">
          <div><dt>Accepted</dt><dd><Accepted object={object} /></dd></div>
          <div><dt>Programmed</dt><dd><Programmed object={object} /></dd></div>
        </dl>
      )}
      {!object && config.value && <p class="none">No such object is in the mesh now.</p>}
      {object && <>
        <h2>Findings</h2>
        {(object.findings ?? []).length > 0 ? <Findings of={object.findings!} /> : <p class="none">Nothing is wrong with it.</p>}
      </>}
      <h2>As the mesh has it</h2>
      {text.value !== null
        ? <pre class="yaml" tabIndex={0} role="region" aria-label="The object as YAML">{text.value.split("\n").map(shown).join("\n")}</pre>
        : <p class="none" role="status">{text.failed ?? "Reading it…"}</p>}
    </>
  );
}
