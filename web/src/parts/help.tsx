// Help is a dialog of the browser's own: Escape closes it, and the focus goes
// back to where it was.
export function openHelp(): void {
  const dialog = document.getElementById("help");
  if (dialog instanceof HTMLDialogElement && !dialog.open) dialog.showModal();
}

const keys: [string, string][] = [
  ["Tab", "to the next link, button or table"],
  ["/", "to the box that filters"],
  ["?", "this help"],
  ["Esc", "closes it"],
  ["Arrows", "move the graph, when it has the focus"],
  ["+ and −", "zoom the graph"],
  ["0", "shows all of the graph"],
];

export function Help() {
  return (
    <dialog id="help" aria-labelledby="help-title">
      <h2 id="help-title">Keys and signs</h2>
      <dl class="keys">
        {keys.map(([key, what]) => <><dt><kbd>{key}</kbd></dt><dd>{what}</dd></>)}
        <dt><span class="health poor">▲ 98.2%</span></dt><dd>fewer than 99% of the requests succeed</dd>
        <dt><span class="health bad">✕ 90%</span></dt><dd>fewer than 95% do</dd>
      </dl>
      <form method="dialog"><button>Close</button></form>
      <p class="muted"><a href="./licenses.txt">Licences of what this page is made of</a></p>
    </dialog>
  );
}
