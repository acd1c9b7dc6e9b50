import { type MeshObject, get } from "../api.ts";
import { useData } from "../data.ts";
import { shown } from "../format.ts";
import { usePoll } from "../poll.ts";
import { Name } from "../parts/name.tsx";
import { Accepted, Findings, Programmed } from "./objects.tsx";

// ObjectPage is one object: its state, what was found in it, and its text.
export function ObjectPage({ kind, namespace, name }: { kind: string; namespace: string; name: string }) {
  const { config } = useData();
  const object = (config.value?.objects ?? []).find((o) => o.kind === kind && o.namespace === namespace && o.name === name);
  return (
    <>
      <div class="head">
        <div>
          <p class="crumb"><a href="#/objects">Objects</a> / <a href={`#/objects?kind=${encodeURIComponent(kind)}`}><Name of={kind} most={40} /></a></p>
          <h1 tabIndex={-1}><Name of={name} most={48} /> <small class="muted">in <Name of={namespace} most={32} /></small></h1>
        </div>
      </div>
      {object ? <State of={object} /> : (
        <p class="none" role="status">{config.value ? "No such object is in the mesh now." : config.failed ?? "Reading the objects…"}</p>
      )}
    </>
  );
}

function State({ of }: { of: MeshObject }) {
  const { kind, namespace, name } = of;
  const text = usePoll<string>(`${kind}/${namespace}/${name}`, async () => (await get("object", { kind, namespace, name })).text(), 10_000);
  return (
    <>
      <dl class="facts">
        <div><dt>Accepted</dt><dd><Accepted object={of} /></dd></div>
        <div><dt>Programmed</dt><dd><Programmed object={of} /></dd></div>
      </dl>
      <h2>Findings</h2>
      {(of.findings ?? []).length > 0 ? <Findings of={of.findings!} /> : <p class="none">Nothing is wrong with it.</p>}
      <h2>As the mesh has it</h2>
      {text.value !== null
        ? <pre class="yaml" tabIndex={0} role="region" aria-label="The object as YAML">{text.value.split("\n").map(shown).join("\n")}</pre>
        : <p class="none" role="status">{text.failed ?? "Reading it…"}</p>}
    </>
  );
}
