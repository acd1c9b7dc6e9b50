import type { Now } from "../api.ts";

// empty: nothing runs that could be shown.
export function empty(now: Now): boolean {
  return (now.inventory ?? []).length === 0 && (now.workloads ?? []).length === 0;
}

// Empty says what to do next in a mesh without pods.
export function Empty({ local }: { local: boolean }) {
  return (
    <section class="empty">
      <h2>No workload runs in this mesh yet</h2>
      {local ? (
        <p>Start the sample: <code>weft up samples/bookshop</code>. Then open its page some times: each call is drawn here.</p>
      ) : (
        <>
          <p>Let a namespace's pods join, and start them anew:</p>
          <pre tabIndex={0}>kubectl label namespace NAMESPACE istio-injection=enabled{"\n"}kubectl -n NAMESPACE rollout restart deployment</pre>
        </>
      )}
    </section>
  );
}
