import type { History, Point } from "./api.ts";

export type Series = (number | null)[];

// Lines are a history as a chart takes it: seconds since 1970, and a value or
// null for each.
export interface Lines {
  at: number[];
  rate: Series;
  success: Series;
  p50: Series;
  p95: Series;
  p99: Series;
  received: Series;
  sent: Series;
  tcp: Series;
}

// lines puts a hole where points are missing, so that no line is drawn over a
// time of which nothing is known.
export function lines(history: History): Lines {
  const out: Lines = { at: [], rate: [], success: [], p50: [], p95: [], p99: [], received: [], sent: [], tcp: [] };
  const add = (at: number, p: Point | null) => {
    out.at.push(at);
    out.rate.push(p?.requestsPerSecond ?? null);
    out.success.push(p?.successRate != null ? p.successRate * 100 : null);
    out.p50.push(p?.p50 ?? null);
    out.p95.push(p?.p95 ?? null);
    out.p99.push(p?.p99 ?? null);
    out.received.push(p?.receivedBytesPerSecond ?? null);
    out.sent.push(p?.sentBytesPerSecond ?? null);
    out.tcp.push(p?.connectionsPerSecond ?? null);
  };
  const usual = usualGap(history);
  for (const point of history.points ?? []) {
    const at = Date.parse(point.at) / 1000;
    const last = out.at.at(-1);
    if (last !== undefined && at <= last) continue; // a clock was set back
    if (last !== undefined && usual > 0 && at - last > 1.8 * usual) add(last + history.stepSeconds, null);
    add(at, point);
  }
  return out;
}

// usualGap is between two points, in seconds: a mesh that takes long to answer
// has fewer than one for each step.
function usualGap(history: History): number {
  const times = (history.points ?? []).map((p) => Date.parse(p.at) / 1000);
  const gaps = times.slice(1).map((t, i) => t - times[i]!).sort((a, b) => a - b);
  return Math.max(history.stepSeconds, gaps[(gaps.length - 1) >> 1] ?? 0);
}

export const some = (series: Series): boolean => series.some((v) => v !== null && v !== 0);

export function newest(series: Series): number | null {
  return series.findLast((v) => v !== null) ?? null;
}
