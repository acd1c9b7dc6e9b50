import { expect, test } from "vitest";
import { matches, sorted } from "../src/sort.ts";

test("words sort as people count them, what is not known last both ways", () => {
  const rows = ["pod-10", null, "pod-2", "Pod-1"];
  expect(sorted(rows, (r) => r, false)).toEqual(["Pod-1", "pod-2", "pod-10", null]);
  expect(sorted(rows, (r) => r, true)).toEqual(["pod-10", "pod-2", "Pod-1", null]);
  expect(sorted([3, undefined, 20, 1], (r) => r, true)).toEqual([20, 3, 1, undefined]);
  expect(rows[0]).toBe("pod-10");
});

test("equals keep their order", () => {
  const rows = [{ n: 1, k: "b" }, { n: 1, k: "a" }, { n: 0, k: "c" }];
  expect(sorted(rows, (r) => r.n, true).map((r) => r.k)).toEqual(["b", "a", "c"]);
});

test("a filter wants all of its words, anywhere", () => {
  expect(matches("def rev", "default", "reviews-v1")).toBe(true);
  expect(matches("rev data", "default", "reviews-v1")).toBe(false);
  expect(matches("", undefined)).toBe(true);
});
