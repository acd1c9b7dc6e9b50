import { cut, shown } from "../format.ts";
import { choose } from "../route.ts";

export const windows: [string, string][] = [["10", "10 s"], ["60", "1 min"], ["300", "5 min"], ["3600", "1 h"]];
export const defaultWindow = "60";

interface Option { value: string; text: string }

export function Select({ label, name, value, options, fallback = "" }: { label: string; name: string; value: string; options: Option[]; fallback?: string }) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={(e) => choose(name, e.currentTarget.value === fallback ? "" : e.currentTarget.value)}>
        {options.map((o) => <option key={o.value} value={o.value}>{o.text}</option>)}
      </select>
    </label>
  );
}

export function Check({ label, name, on }: { label: string; name: string; on: boolean }) {
  return (
    <label class="field check">
      <input type="checkbox" checked={on} onChange={(e) => choose(name, e.currentTarget.checked ? "1" : "")} />
      <span>{label}</span>
    </label>
  );
}

// Find is the box that the key / goes to.
export function Find({ value, label, onEnter }: { value: string; label: string; onEnter?: () => void }) {
  return (
    <label class="field find">
      <span class="unseen">{label}</span>
      <input
        type="search" id="find" value={value} placeholder={label} autocomplete="off" spellcheck={false}
        onInput={(e) => choose("find", e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === "Enter") onEnter?.();
        }}
      />
    </label>
  );
}

export function Windows({ value }: { value: string }) {
  return <Select label="Last" name="window" value={value} fallback={defaultWindow} options={windows.map(([v, text]) => ({ value: v, text }))} />;
}

export function Namespaces({ value, all }: { value: string; all: string[] }) {
  const names = [...new Set(value ? [...all, value] : all)].sort();
  return <Select label="Namespace" name="namespace" value={value} options={[{ value: "", text: "all" }, ...names.map((n) => ({ value: n, text: cut(shown(n), 40) }))]} />;
}
