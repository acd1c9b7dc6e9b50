import { useEffect, useState } from "preact/hooks";

// Place is what the address names: #/workload/NAMESPACE/NAME?window=60.
export interface Place { page: string; parts: string[]; query: URLSearchParams }

export function placeOf(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const [page = "", ...parts] = path.split("/").map(decoded);
  return { page, parts, query: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // somebody wrote a % by hand
  }
}

// to is the address of a page; each part may hold any text.
export function to(page: string, ...parts: string[]): string {
  return "#/" + [page, ...parts.map(encodeURIComponent)].join("/");
}

export function usePlace(): Place {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const changed = () => set(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return placeOf(hash);
}

// choose sets a parameter of the address, "" removes it. No history is made of
// it: who goes back wants the page before.
export function choose(name: string, value: string): void {
  const [path = "", query = ""] = location.hash.split("?", 2);
  const parameters = new URLSearchParams(query);
  if (value === "") parameters.delete(name);
  else parameters.set(name, value);
  const rest = parameters.toString();
  history.replaceState(null, "", `${path || "#/"}${rest && "?" + rest}`);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
