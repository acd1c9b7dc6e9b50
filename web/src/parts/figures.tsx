import { health, percent, sign } from "../format.ts";

// Success says by sign and colour how a success rate is to be taken.
export function Success({ rate }: { rate: number | null | undefined }) {
  const how = health(rate);
  const word = { good: "", poor: "poor: ", bad: "bad: ", idle: "" }[how];
  return (
    <span class={`health ${how}`}>
      {sign[how] && <span aria-hidden="true">{sign[how]} </span>}
      {word && <span class="unseen">{word}</span>}
      {percent(rate)}
    </span>
  );
}

const shackle = { shut: "M3 6V4a2.5 2.5 0 0 1 5 0v2", open: "M3 6V4a2.5 2.5 0 0 1 5 0" };

// Padlock is shut where all calls come by mutual TLS, else open, with the
// share where it is some.
export function Padlock({ share }: { share: number | null | undefined }) {
  if (share == null) return <span class="muted">–</span>;
  const said = share >= 1 ? "all by mutual TLS" : share <= 0 ? "none by mutual TLS" : `${percent(share)} by mutual TLS`;
  return (
    <span class={`lock ${share >= 1 ? "good" : share > 0 ? "poor" : "open"}`} title={said}>
      <svg width="11" height="12" viewBox="0 0 11 12" aria-hidden="true">
        <PadlockShape share={share} />
      </svg>
      <span class="unseen">{said}</span>
      {share > 0 && share < 1 && <span aria-hidden="true"> {percent(share)}</span>}
      {share <= 0 && <span aria-hidden="true"> none</span>}
    </span>
  );
}

export function PadlockShape({ share }: { share: number }) {
  return (
    <>
      <path d={share > 0 ? shackle.shut : shackle.open} fill="none" stroke="currentColor" stroke-width="1.5" />
      <rect x="1.2" y="5.6" width="8.6" height="6" rx="1.2" fill="currentColor" />
    </>
  );
}

// Tag is a short word in a frame.
export function Tag({ text, kind = "", title }: { text: string; kind?: string; title?: string }) {
  return <span class={`tag ${kind}`} title={title}>{text}</span>;
}
