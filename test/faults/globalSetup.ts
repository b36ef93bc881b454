/** The worker as plain JavaScript: there are a hundred of them. */
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import type {} from "vitest"
import type { TestProject } from "vitest/node"
import { bundle } from "../support/bundle.js"

declare module "vitest" {
  interface ProvidedContext {
    /** The file of worker.ts. */
    readonly faultWorker: string
    /** The same, of the edition for Effect 3. */
    readonly faultWorker3: string
  }
}

const folder = new URL("./.build/", import.meta.url)
const folder3 = new URL("./.build/effect3/", import.meta.url)

export default async function setup(project: TestProject): Promise<() => void> {
  await bundle(new URL("./worker.ts", import.meta.url), folder)
  await bundle(new URL("./worker.ts", import.meta.url), folder3, "3")
  project.provide("faultWorker", fileURLToPath(new URL("worker.js", folder)))
  project.provide("faultWorker3", fileURLToPath(new URL("worker.js", folder3)))
  return () => fs.rmSync(folder, { recursive: true, force: true })
}
