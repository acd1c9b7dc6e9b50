import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

// accepted are the licences under which code may be put into the page.
const accepted = ["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC"];

// licences writes into fileName the licence of each package that the bundle
// has code of, and fails where one is not accepted or has no text.
export function licences(fileName: string) {
  return {
    name: "licences",
    generateBundle(
      this: { getModuleIds(): Iterable<string>; emitFile(f: { type: "asset"; fileName: string; source: string }): void },
    ) {
      const folders = new Set<string>();
      for (const id of this.getModuleIds()) {
        const [, root, name] = /^\0?(.*\/node_modules)\/((?:@[^/]+\/)?[^/]+)\//.exec(id) ?? [];
        if (!root || !name) continue;
        folders.add(join(root, name));
        // Some have what they depend on built into them.
        const { dependencies } = JSON.parse(readFileSync(join(root, name, "package.json"), "utf8"));
        for (const dependency of Object.keys(dependencies ?? {})) folders.add(join(root, dependency));
      }
      const texts = [...folders].map(textOf).sort();
      this.emitFile({ type: "asset", fileName, source: texts.join("\n") });
    },
  };
}

function textOf(folder: string): string {
  const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name: string; version: string; license: string };
  if (!accepted.includes(about.license)) {
    throw new Error(`${about.name} ${about.version} is under ${about.license}: only ${accepted.join(", ")} may be in the page`);
  }
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  if (!file) throw new Error(`${about.name} ${about.version} has no licence text`);
  return `${about.name} ${about.version} (${about.license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
}
