// How figures and names are written. What is not known is "–".

export const unknown = "–";

type Figure = number | null | undefined;

// significant writes three digits, without the zeros behind a point.
function significant(n: number): string {
  const digits = n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return n.toFixed(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

function scaled(n: number, step: number, units: string[]): string {
  let i = 0;
  while (n >= step * 0.9995 && i < units.length - 1) {
    n /= step;
    i++;
  }
  return significant(n) + units[i]!;
}

// rate is of something a second.
export function rate(n: Figure): string {
  if (n == null) return unknown;
  return n > 0 && n < 0.01 ? "<0.01" : scaled(n, 1000, ["", "k", "M", "G"]);
}

// percent never rounds to a 100 or a 0 that is not whole.
export function percent(share: Figure): string {
  if (share == null) return unknown;
  const p = share * 100;
  if (p < 100 && p > 99.9) return ">99.9%";
  if (p > 0 && p < 0.1) return "<0.1%";
  return (p >= 90 || p < 10 ? Math.round(p * 10) / 10 : Math.round(p)) + "%";
}

export function milliseconds(n: Figure): string {
  if (n == null) return unknown;
  if (n >= 999.5) return significant(n / 1000) + " s";
  return (n < 10 ? significant(Math.round(n * 10) / 10) : n.toFixed(0)) + " ms";
}

export function bytes(n: Figure): string {
  return n == null ? unknown : scaled(n, 1000, [" B", " kB", " MB", " GB", " TB"]);
}

export function count(n: Figure): string {
  return n == null ? unknown : Math.round(n).toLocaleString("en-US").replaceAll(",", "\u202f");
}

// span is a length of time in its two largest units.
export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const units: [number, string][] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const i = units.findIndex(([size]) => s >= size);
  if (i < 0) return "0 s";
  const [size, unit] = units[i]!;
  const next = units[i + 1];
  const rest = next && Math.floor((s % size) / next[0]);
  return `${Math.floor(s / size)} ${unit}` + (rest ? ` ${rest} ${next[1]}` : "");
}

// clock is the time of day; "" before the first look (Go's zero time).
export function clock(at: string): string {
  const t = new Date(at);
  return isNaN(t.getTime()) || t.getUTCFullYear() < 1970 ? "" : t.toLocaleTimeString("en-GB");
}

// Characters that are not seen, or that change in which order others are seen.
// eslint-disable-next-line no-control-regex
const tricky = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

// shown is a name that somebody may have made to deceive: what cannot be seen
// in it is written out, as \u202e.
export function shown(name: string): string {
  return name.replace(tricky, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

// cut shortens in the middle: generated names differ at the end.
export function cut(name: string, most: number): string {
  const letters = [...name];
  if (letters.length <= most) return name;
  const tail = Math.floor((most - 1) / 3);
  return letters.slice(0, most - 1 - tail).join("") + "…" + letters.slice(letters.length - tail).join("");
}

// Health is told by colour and by a sign.
export type Health = "good" | "poor" | "bad" | "idle";

// health of a success rate: below 99% somebody should look, below 95% now.
export function health(success: Figure): Health {
  if (success == null) return "idle";
  return success >= 0.99 ? "good" : success >= 0.95 ? "poor" : "bad";
}

export const sign: Record<Health, string> = { good: "", poor: "▲", bad: "✕", idle: "" };
