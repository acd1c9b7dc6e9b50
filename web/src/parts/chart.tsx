import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { span } from "../format.ts";
import { type Series, newest } from "../history.ts";

export interface Line { label: string; values: Series; ink: 1 | 2 | 3; dash?: number[] }

interface Props {
  title: string;
  at: number[];
  lines: Line[];
  say: (v: number | null) => string;
  top?: number; // the scale's end, where it has one
}

const height = 150;

// Chart is one figure over time. Its numbers are text above it: those at the
// pointer, else the newest.
export function Chart({ title, at, lines, say, top }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [pointed, point] = useState<number | null>(null);
  const dark = useDark();
  const saying = useRef(say);
  saying.current = say;
  useEffect(() => {
    const element = box.current!;
    const made = new uPlot(options(element, lines, (v) => saying.current(v), top, point), data(at, lines), element);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
    };
  }, [dark, lines.length]);
  useEffect(() => plot.current?.setData(data(at, lines)), [at]);
  const value = (line: Line) => (pointed !== null ? line.values[pointed] ?? null : newest(line.values));
  const when = pointed !== null && at[pointed] ? new Date(at[pointed] * 1000).toLocaleTimeString("en-GB") : "";
  const length = at.length > 1 ? span(at.at(-1)! - at[0]!) : "no time yet";
  return (
    <figure class="chart">
      <figcaption>
        <strong>{title}</strong>
        {lines.map((line) => (
          <span key={line.label} class="legend">
            <svg width="18" height="8" aria-hidden="true"><line class={`ink${line.ink}`} x1="0" x2="18" y1="4" y2="4" stroke-dasharray={line.dash?.join(" ")} /></svg>
            {line.label} <b>{say(value(line))}</b>
          </span>
        ))}
        <span class="muted when">{when}</span>
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${title} over ${length}: ${lines.map((l) => `${l.label} ${range(l.values, say)}`).join("; ")}`} />
    </figure>
  );
}

function range(values: Series, say: (v: number | null) => string): string {
  const known = values.filter((v) => v !== null);
  if (known.length === 0) return "not known";
  return `${say(Math.min(...known))} to ${say(Math.max(...known))}, now ${say(newest(values))}`;
}

function data(at: number[], lines: Line[]): uPlot.AlignedData {
  return [at, ...lines.map((l) => l.values)] as uPlot.AlignedData;
}

function options(element: HTMLElement, lines: Line[], say: (v: number) => string, top: number | undefined, point: (i: number | null) => void): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: element.clientWidth || 300, height,
    padding: [8, 18, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "time" }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
    scales: {
      x: { range: (u) => timeRange(u.data[0]) },
      y: { range: (_, least, most) => (top !== undefined ? [Math.min(least, top * 0.9), top] : [0, Math.max(most * 1.15, 0.001)]) },
    },
    axes: [
      { ...axis, size: 26, values: "{HH}:{mm}", space: 60 },
      { ...axis, size: 62, values: (_, ticks) => ticks.map((t) => say(t)), space: 34 },
    ],
    series: [{}, ...lines.map((l) => ({ label: l.label, stroke: colour(`--ink${l.ink}`), width: 1.75, ...(l.dash && { dash: l.dash }), points: { show: (u: uPlot) => u.data[0].length < 4, size: 4, fill: colour(`--ink${l.ink}`) } }))],
    hooks: { setCursor: [(u) => point(u.cursor.idx ?? null)] },
  };
}

// timeRange is at least five minutes, so that the first points are at the right
// and not all over the chart.
function timeRange(at: ArrayLike<number>): [number, number] {
  const end = at[at.length - 1] ?? 0;
  return [Math.min(at[0] ?? end, end - 300), end];
}

// useDark redraws what is not drawn by the style sheet.
function useDark(): boolean {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, set] = useState(query.matches);
  useEffect(() => {
    const changed = () => set(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return dark;
}
