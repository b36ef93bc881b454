/**
 * Vitest global setup: finds or installs redis-server once, before test files run in parallel, and starts one plain
 * server that ordinary tests share. `inject("redisUrl")` gives its url. Tests that break a server start their own.
 */
import type {} from "vitest"
import type { TestProject } from "vitest/node"
import { ensureRedisServer, startRedis } from "./redisServer.js"

declare module "vitest" {
  interface ProvidedContext {
    /** The url of the plain Redis server shared by all test files: use keys of your own, flush nothing. */
    readonly redisUrl: string
  }
}

/** Starts the shared server, and returns what stops it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  ensureRedisServer()
  const server = await startRedis()
  project.provide("redisUrl", server.url)
  return () => server.stop()
}
