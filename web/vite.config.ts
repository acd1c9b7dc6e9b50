import { defineConfig } from "vite";
import { licences } from "./licences.ts";

// The names of what is built are fixed, so that an update is a diff and not a
// new file; the server says that they are to be asked for anew. Nothing is
// inlined as a data: URL, and there is no source map: what is committed stays small.
export default defineConfig({
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [licences("licenses.txt")],
  build: {
    outDir: "dist",
    emptyOutDir: true,
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    target: "es2022",
    rolldownOptions: {
      output: {
        entryFileNames: "assets/app.js",
        chunkFileNames: "assets/[name].js",
        assetFileNames: "assets/[name][extname]",
      },
    },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node", testTimeout: 300_000, hookTimeout: 300_000 },
} as Parameters<typeof defineConfig>[0]);
