import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Config, Now } from "./api.ts";
import type { Polled } from "./poll.ts";
import type { Place } from "./route.ts";
import { defaultWindow, windows } from "./parts/filters.tsx";

// Data is what every page draws from.
export interface Data {
  now: Now;
  config: Polled<Config>;
  place: Place;
}

export const DataContext = createContext<Data | null>(null);

export function useData(): Data {
  const data = useContext(DataContext);
  if (!data) throw new Error("a page outside of the app");
  return data;
}

export function windowOf(place: Place): string {
  const asked = place.query.get("window") ?? defaultWindow;
  return windows.some(([value]) => value === asked) ? asked : defaultWindow;
}

export function namespacesOf(now: Now): string[] {
  const rows = [...(now.inventory ?? []), ...(now.workloads ?? []), ...(now.services ?? [])];
  return [...new Set(rows.map((r) => r.namespace))].filter((n) => n && n !== "unknown").sort();
}
