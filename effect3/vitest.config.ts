import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { plugin } from "./resolve.mjs"

const root = fileURLToPath(new URL("..", import.meta.url))
const file = (path: string) => `${root}${path}`

/** As in the configuration for Effect 4. */
const ioredis5 = process.env["IOREDIS"] === "5"

/** What `npm test` runs of it. `npm run test:effect3` runs the rest. */
const core = [
  "test/dlock/**/*.test.ts",
  "test/fanout/**/*.test.ts",
  // The contract of the store ports, on memory and on Redis.
  "test/store/{memory,redis}.test.ts",
  "test/store/flights/flights.test.ts",
  "test/http/**/*.test.ts"
]
const timed = ["test/faults/**/*.test.ts", "test/cost/**/*.test.ts"]
/** What does not depend on Effect, or is about the repository. */
const once = ["test/docs.test.ts", "test/layering.test.ts", "test/package.test.ts", "test/mutations/**"]
/** What Effect 3 has nothing of. */
const effect4 = "test/**/*.effect4.test.ts"

export default defineConfig({
  root,
  plugins: [plugin],
  resolve: {
    alias: [
      { find: /^effect-dlock$/, replacement: file("src/index.ts") },
      { find: /^effect-dlock\/(.*)$/, replacement: file("src/$1.ts") },
      ...(ioredis5 ? [{ find: /^ioredis$/, replacement: "ioredis5" }] : [])
    ]
  },
  test: {
    pool: "forks",
    maxWorkers: 2,
    minWorkers: 1,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ["default", file("test/support/summary.ts")],
    // Child processes are told by what they inherit.
    env: {
      EFFECT: "3",
      NODE_OPTIONS: `--import ${new URL("register.mjs", import.meta.url).href}`,
      ...(ioredis5 ? { TSX_TSCONFIG_PATH: file("tsconfig.ioredis5.json") } : {})
    },
    projects: [
      {
        extends: true,
        test: { name: "core", include: core, exclude: [effect4], globalSetup: [file("test/support/globalSetup.ts")] }
      },
      {
        extends: true,
        test: {
          name: "rest",
          include: ["test/**/*.test.ts"],
          exclude: [...core, ...timed, ...once, effect4],
          globalSetup: [file("test/support/globalSetup.ts")]
        }
      },
      {
        extends: true,
        test: {
          name: "faults",
          include: timed,
          globalSetup: [file("test/support/globalSetup.ts"), file("test/faults/globalSetup.ts")],
          poolOptions: { forks: { singleFork: true } }
        }
      }
    ]
  }
})
