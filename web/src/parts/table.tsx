import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type Cell, sorted } from "../sort.ts";
import { Name } from "./name.tsx";

export interface Column<T> {
  key: string;
  title: string;
  hint?: string; // what the title means
  cell: (row: T) => Cell; // by which it sorts
  show?: (row: T) => ComponentChildren;
  number?: boolean;
}

interface Props<T> {
  caption: string;
  rows: readonly T[];
  columns: Column<T>[];
  id: (row: T) => string;
  sort?: string; // a column's key; "-key": downwards
  detail?: (row: T) => ComponentChildren; // a row of its own below it, or null
  none: ComponentChildren; // said of no rows
}

// page is how many rows are drawn until somebody asks for all.
const page = 300;

// Table sorts by each of its columns. The first names the row.
export function Table<T>({ caption, rows, columns, id, sort = "", detail, none }: Props<T>) {
  const [by, setBy] = useState(sort);
  const [all, setAll] = useState(false);
  const key = by.replace(/^-/, "");
  const column = columns.find((c) => c.key === key);
  const ordered = column ? sorted(rows, column.cell, by.startsWith("-")) : rows;
  const drawn = all ? ordered : ordered.slice(0, page);
  if (rows.length === 0) return <p class="none">{none}</p>;
  return (
    <div class="scroll" role="region" aria-label={caption} tabIndex={0}>
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>{columns.map((c) => <Heading key={c.key} column={c} by={by} set={setBy} />)}</tr>
        </thead>
        <tbody>
          {drawn.map((row) => <Line key={id(row)} row={row} columns={columns} detail={detail?.(row)} />)}
        </tbody>
      </table>
      {drawn.length < rows.length && (
        <button type="button" class="more" onClick={() => setAll(true)}>Show all {rows.length}</button>
      )}
    </div>
  );
}

function Line<T>({ row, columns, detail }: { row: T; columns: Column<T>[]; detail: ComponentChildren }) {
  return (
    <>
      <tr class={detail ? "detailed" : undefined}>
        {columns.map((c, i) => {
          const cell = c.cell(row);
          const content = c.show ? c.show(row) : typeof cell === "string" ? <Name of={cell} /> : cell;
          return i === 0 ? <th key={c.key} scope="row">{content}</th> : <td key={c.key} class={c.number ? "number" : undefined}>{content}</td>;
        })}
      </tr>
      {detail && <tr class="detail"><td colSpan={columns.length}>{detail}</td></tr>}
    </>
  );
}

function Heading<T>({ column, by, set }: { column: Column<T>; by: string; set: (by: string) => void }) {
  const state = by === column.key ? "ascending" : by === "-" + column.key ? "descending" : "none";
  // Of figures the greatest are asked for first, of names the first.
  const next = state === "none" ? (column.number ? "-" : "") + column.key : state === "ascending" ? "-" + column.key : column.key;
  return (
    <th scope="col" class={column.number ? "number" : undefined} aria-sort={state}>
      <button type="button" title={column.hint} onClick={() => set(next)}>
        {column.title}
        <span class="arrow" aria-hidden="true">{{ ascending: "▴", descending: "▾", none: "" }[state]}</span>
      </button>
    </th>
  );
}
