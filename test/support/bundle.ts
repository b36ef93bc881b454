/** A program that many processes run, as plain JavaScript: by tsx each start takes a second of processor time more. */
import { build } from "esbuild"
import { fileURLToPath } from "node:url"
import { esbuildPlugin } from "../../effect3/resolve.mjs"

/** The edition that is tested. */
const tested = process.env["EFFECT"] === "3" ? "3" : "4"

/** `folder` is to lie beside the sources, so that the project's packages are found. `IOREDIS=5` and `EFFECT=3` are heeded. */
export const bundle = (source: URL, folder: URL, edition: "3" | "4" = tested) =>
  build({
    entryPoints: [fileURLToPath(source)],
    outdir: fileURLToPath(folder),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    packages: "external",
    plugins: edition === "3" ? [esbuildPlugin] : [],
    ...process.env["IOREDIS"] === "5" ? { alias: { ioredis: "ioredis5" } } : {},
    sourcemap: "inline",
    logLevel: "warning"
  })
