/** The worker as plain JavaScript: by tsx each start takes a second of processor time more, and there are a hundred. */
import { build } from "esbuild"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import type {} from "vitest"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  interface ProvidedContext {
    /** The file of worker.ts. */
    readonly faultWorker: string
  }
}

/** Beside the sources, so that the project's packages are found. */
const folder = fileURLToPath(new URL("./.build", import.meta.url))

export default async function setup(project: TestProject): Promise<() => void> {
  await build({
    entryPoints: [fileURLToPath(new URL("./worker.ts", import.meta.url))],
    outdir: folder,
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
  project.provide("faultWorker", `${folder}/worker.js`)
  return () => fs.rmSync(folder, { recursive: true, force: true })
}
