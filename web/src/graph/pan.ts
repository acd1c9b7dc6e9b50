import { useEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";
import type { Layout, Point } from "./layout.ts";

export interface View { x: number; y: number; k: number }

const least = 0.05;
const most = 3;

// readable shows all of the layout where its words can be read then, else a part:
// from its left, where the calls begin.
export function readable(placed: { width: number; height: number }, width: number, height: number): View {
  const all = fitted(placed, width, height);
  const k = 0.6;
  if (all.k >= k) return all;
  const free = { x: width - placed.width * k, y: height - placed.height * k };
  return { k, x: free.x > 0 ? free.x / 2 : 12, y: free.y / 2 };
}

// fitted shows all of the layout, not larger than life.
export function fitted(placed: { width: number; height: number }, width: number, height: number): View {
  const margin = 20;
  const k = Math.min(1, (width - 2 * margin) / Math.max(placed.width, 1), (height - 2 * margin) / Math.max(placed.height, 1));
  return { k, x: (width - placed.width * k) / 2, y: (height - placed.height * k) / 2 };
}

// zoomed keeps what is at a point there.
export function zoomed(view: View, by: number, at: Point): View {
  const k = Math.min(most, Math.max(least, view.k * by));
  const real = k / view.k;
  return { k, x: at.x - (at.x - view.x) * real, y: at.y - (at.y - view.y) * real };
}

// useView moves the picture by pointer, wheel and keys. Until somebody does so,
// it begins anew when the layout or the window change.
export function useView(frame: RefObject<HTMLDivElement | null>, placed: Layout, key: string) {
  const [view, set] = useState<View>({ x: 0, y: 0, k: 1 });
  const moved = useRef(false);
  const size = () => ({ width: frame.current?.clientWidth ?? 0, height: frame.current?.clientHeight ?? 0 });
  const fit = () => {
    const { width, height } = size();
    moved.current = true;
    if (width > 0) set(fitted(placed, width, height));
  };
  const begin = () => {
    const { width, height } = size();
    if (width > 0) set(readable(placed, width, height));
  };
  const latest = useRef({ fit, begin });
  latest.current = { fit, begin };
  const move = (change: (v: View) => View) => {
    moved.current = true;
    set(change);
  };
  const zoom = (by: number, at?: Point) => {
    const { width, height } = size();
    move((v) => zoomed(v, by, at ?? { x: width / 2, y: height / 2 }));
  };
  const centre = (at: Point) => {
    const { width, height } = size();
    move((v) => {
      const k = Math.max(v.k, 0.8);
      return { k, x: width / 2 - at.x * k, y: height / 2 - at.y * k };
    });
  };
  useEffect(() => {
    if (!moved.current) latest.current.begin();
  }, [key]);
  useEffect(() => {
    const element = frame.current!;
    const watch = new ResizeObserver(() => {
      if (!moved.current) latest.current.begin();
    });
    watch.observe(element);
    const stop = listen(element, move, zoom, () => latest.current.fit());
    return () => {
      watch.disconnect();
      stop();
    };
  }, []);
  return { view, zoom, fit, centre };
}

const steps: Record<string, [number, number]> = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

function listen(element: HTMLElement, move: (change: (v: View) => View) => void, zoom: (by: number, at?: Point) => void, fit: () => void): () => void {
  const ending = new AbortController();
  const on = <K extends keyof HTMLElementEventMap>(name: K, do_: (e: HTMLElementEventMap[K]) => void, passive = true) =>
    element.addEventListener(name, do_, { signal: ending.signal, passive });
  const fingers = new Map<number, Point>();
  const here = (e: { clientX: number; clientY: number }): Point => {
    const at = element.getBoundingClientRect();
    return { x: e.clientX - at.left, y: e.clientY - at.top };
  };
  on("wheel", (e) => {
    e.preventDefault();
    zoom(Math.exp(-Math.max(-60, Math.min(60, e.deltaY)) / 200), here(e));
  }, false);
  on("pointerdown", (e) => {
    if (e.button === 0) fingers.set(e.pointerId, here(e));
  });
  on("pointermove", (e) => {
    const before = fingers.get(e.pointerId);
    if (!before) return;
    const now = here(e);
    const other = [...fingers].find(([id]) => id !== e.pointerId)?.[1];
    fingers.set(e.pointerId, now);
    if (other) zoom(Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y)), other);
    else move((v) => ({ ...v, x: v.x + now.x - before.x, y: v.y + now.y - before.y }));
  });
  for (const name of ["pointerup", "pointercancel", "pointerleave"] as const) on(name, (e) => fingers.delete(e.pointerId));
  on("keydown", (e) => {
    const step = steps[e.key];
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (step) move((v) => ({ ...v, x: v.x + step[0], y: v.y + step[1] }));
    else if (e.key === "+" || e.key === "=") zoom(1.3);
    else if (e.key === "-") zoom(1 / 1.3);
    else if (e.key === "0") fit();
    else return;
    e.preventDefault();
  }, false);
  return () => ending.abort();
}
