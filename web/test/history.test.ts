import { expect, test } from "vitest";
import type { Point } from "../src/api.ts";
import { lines, newest, some } from "../src/history.ts";

const point = (second: number, rate: number | null): Point => ({
  at: new Date(second * 1000).toISOString(), requestsPerSecond: rate, successRate: 0.5, p50: 1, p95: 2, p99: 3, receivedBytesPerSecond: 4, sentBytesPerSecond: 5, connectionsPerSecond: 0,
});

test("missing steps are a hole, late ones are not", () => {
  const d = lines({ stepSeconds: 10, points: [point(100, 1), point(114, 2), point(150, 3)] });
  expect(d.at).toEqual([100, 114, 124, 150]);
  expect(d.rate).toEqual([1, 2, null, 3]);
  expect(d.success).toEqual([50, 50, null, 50]);
});

test("a clock that was set back repeats no time", () => {
  expect(lines({ stepSeconds: 10, points: [point(100, 1), point(90, 2), point(110, 3)] }).at).toEqual([100, 110]);
  expect(lines({ stepSeconds: 10, points: null }).at).toEqual([]);
});

test("the newest that is known", () => {
  expect(newest([1, 2, null])).toBe(2);
  expect(newest([])).toBe(null);
  expect(some([null, 0])).toBe(false);
});
