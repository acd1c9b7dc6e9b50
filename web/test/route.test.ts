import { expect, test } from "vitest";
import { placeOf, to } from "../src/route.ts";

test("an address names any text, and is read back", () => {
  for (const name of ["a", "a/b", "50%", "?x=1#y", "<img src=x>", "\u202e", "日本"]) {
    const place = placeOf(to("workload", "n", name) + "?window=10");
    expect(place.page).toBe("workload");
    expect(place.parts).toEqual(["n", name]);
    expect(place.query.get("window")).toBe("10");
  }
});

test("an address written by hand breaks nothing", () => {
  expect(placeOf("")).toMatchObject({ page: "", parts: [] });
  expect(placeOf("#/pod/n/50%").parts).toEqual(["n", "50%"]);
});
