import { useEffect, useRef, useState } from "preact/hooks";
import { Unauthorized } from "./api.ts";

// Polled is the newest answer, and why there is none newer.
export interface Polled<T> {
  value: T | null;
  failed: string | null;
  unauthorized: boolean;
  again: () => void; // ask at once
}

// usePoll asks every so many milliseconds, one request at a time, and not while
// nobody sees the page. When key changes it asks at once; an answer for another
// key is dropped.
export function usePoll<T>(key: string, ask: () => Promise<T>, milliseconds: number): Polled<T> {
  const [state, set] = useState<{ value: T | null; failed: string | null; unauthorized: boolean }>({ value: null, failed: null, unauthorized: false });
  const latest = useRef(ask);
  latest.current = ask;
  const wake = useRef(() => {});
  useEffect(() => {
    let timer = 0;
    let over = false;
    let asking = false;
    const look = async () => {
      clearTimeout(timer);
      if (asking || over || document.hidden) return;
      asking = true;
      try {
        const value = await latest.current();
        if (!over) set({ value, failed: null, unauthorized: false });
      } catch (e) {
        if (!over) set((old) => ({ value: old.value, failed: e instanceof Error ? e.message : String(e), unauthorized: e instanceof Unauthorized }));
      }
      asking = false;
      if (!over) timer = window.setTimeout(look, milliseconds);
    };
    wake.current = () => void look();
    const shown = () => void look();
    document.addEventListener("visibilitychange", shown);
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [key, milliseconds]);
  return { ...state, again: () => wake.current() };
}
