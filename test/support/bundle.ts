/** A program that many processes run, as plain JavaScript: by tsx each start takes a second of processor time more. */
import { build } from "esbuild"
import { fileURLToPath } from "node:url"

/** `folder` is to lie beside the sources, so that the project's packages are found. `IOREDIS=5` is heeded. */
export const bundle = (source: URL, folder: URL) =>
  build({
    entryPoints: [fileURLToPath(source)],
    outdir: fileURLToPath(folder),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    packages: "external",
    ...process.env["IOREDIS"] === "5" ? { alias: { ioredis: "ioredis5" } } : {},
    sourcemap: "inline",
    logLevel: "warning"
  })
