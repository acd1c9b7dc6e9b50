import { expect, test } from "vitest";
import { bytes, clock, count, cut, health, milliseconds, percent, rate, shown, span } from "../src/format.ts";

test("a figure has three digits and no idle zeros", () => {
  expect([0, 0.001, 0.9, 9.5, 49.13, 100, 999.9, 12_345, 2e6].map(rate)).toEqual(["0", "<0.01", "0.9", "9.5", "49.1", "100", "1k", "12.3k", "2M"]);
  expect([0, 999, 1000, 1_230_000].map(bytes)).toEqual(["0 B", "999 B", "1 kB", "1.23 MB"]);
  expect([0.42, 7.25, 61.4, 999.6, 12_000].map(milliseconds)).toEqual(["0.4 ms", "7.3 ms", "61 ms", "1 s", "12 s"]);
  expect(count(1234567)).toBe("1\u202f234\u202f567");
});

test("what is not known is a dash", () => {
  for (const say of [rate, percent, milliseconds, bytes, count]) expect([say(null), say(undefined)]).toEqual(["–", "–"]);
});

test("a percentage is 100 or 0 only where it is", () => {
  expect([1, 0.99999, 0.9965, 0.9862, 0.93, 0.634, 0.051, 0.0001, 0].map(percent)).toEqual(["100%", ">99.9%", "99.7%", "98.6%", "93%", "63%", "5.1%", "<0.1%", "0%"]);
});

test("a time is told in its two largest units", () => {
  expect([0, 59, 60, 95, 3600, 90_000, -5].map(span)).toEqual(["0 s", "59 s", "1 min", "1 min 35 s", "1 h", "1 d 1 h", "0 s"]);
  expect(clock("0001-01-01T00:00:00Z")).toBe("");
  expect(clock("nonsense")).toBe("");
});

test("what deceives in a name is written out", () => {
  expect(shown("a\u202eb\n\u0007\u200b")).toBe("a\\u202eb\\u000a\\u0007\\u200b");
  expect(shown("größe-日本 <img onerror=x>")).toBe("größe-日本 <img onerror=x>");
});

test("a long name keeps its beginning and its end", () => {
  expect(cut("reviews-v1-5d9c7b5f6d-abcde", 12)).toBe("reviews-…cde");
  expect(cut("short", 12)).toBe("short");
  expect(cut("😀".repeat(20), 4)).toBe("😀😀…😀");
  expect([...cut("x".repeat(10_000), 60)]).toHaveLength(60);
});

test("health has bounds", () => {
  expect([null, 1, 0.99, 0.989, 0.95, 0.949].map(health)).toEqual(["idle", "good", "good", "poor", "poor", "bad"]);
});
