import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// IOREDIS=5 runs everything on the oldest supported major. Child processes are told by the tsconfig that tsx reads.
const ioredis5 = process.env["IOREDIS"] === "5"
const houseTests = ["test/layering.test.ts", "test/package.test.ts"]
const timedTests = ["test/faults/**/*.test.ts", "test/cost/**/*.test.ts"]

export default defineConfig({
  resolve: {
    alias: [
      // The package's own name means its sources, never a build that may be old.
      { find: /^effect-dlock$/, replacement: file("src/index.ts") },
      { find: /^effect-dlock\/(.*)$/, replacement: file("src/$1.ts") },
      ...(ioredis5 ? [{ find: /^ioredis$/, replacement: "ioredis5" }] : [])
    ]
  },
  test: {
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ["default", "./test/support/summary.ts"],
    env: ioredis5 ? { TSX_TSCONFIG_PATH: file("tsconfig.ioredis5.json") } : {},
    // The last group measures times of several real processes: one file at a time, and nothing else.
    projects: [
      {
        extends: true,
        test: { name: "house", include: houseTests, sequence: { groupOrder: 0 } }
      },
      {
        extends: true,
        test: {
          name: "locks",
          include: ["test/**/*.test.ts"],
          exclude: [...houseTests, ...timedTests],
          globalSetup: ["./test/support/globalSetup.ts"],
          sequence: { groupOrder: 0 }
        }
      },
      {
        extends: true,
        test: {
          name: "faults",
          include: timedTests,
          globalSetup: ["./test/support/globalSetup.ts", "./test/faults/globalSetup.ts"],
          maxWorkers: 1,
          sequence: { groupOrder: 1 }
        }
      }
    ]
  }
})
