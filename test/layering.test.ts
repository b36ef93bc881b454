import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import type { RuleName, Sources } from "./support/house.js"
import { ruleNames, violations } from "./support/house.js"

const folder = fileURLToPath(new URL("../src/", import.meta.url))

const sources: Sources = Object.fromEntries(
  fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => [file.replaceAll("\\", "/"), fs.readFileSync(folder + file, "utf8")])
)

describe("src", () => {
  it("was found", () => assert.include(Object.keys(sources), "index.ts"))

  for (const rule of ruleNames) {
    it(rule, () => assert.deepStrictEqual(violations(rule, sources), []))
  }
})

const lines = (count: number) => "\n".repeat(count)

/** Sources that break a rule, and how many times they do. */
const bad: ReadonlyArray<readonly [RuleName, count: number, Sources]> = [
  ["value imports only go down", 1, { "internal/key.ts": `import * as store from "./store.js"` }],
  ["value imports only go down", 1, { "internal/new.ts": `import * as dlock from "./dlock.js"` }],
  ["value imports only go down", 1, { "internal/store.ts": `export * from "./engine/lease.js"` }],
  ["value imports only go down", 1, { "internal/store.ts": `import { type Lock } from "../Lock.js"` }],
  ["value imports only go down", 1, { "internal/engine/lease.ts": `import { x } from "../memory/store.js"` }],
  ["value imports only go down", 1, { "internal/memory/store.ts": `import "../redis/client.js"` }],
  ["value imports only go down", 1, { "internal/redis/store.ts": `const x = import("../dlock.js")` }],
  ["value imports only go down", 1, { "internal/dlock.ts": `export { Dlock } from "../Dlock.js"` }],
  ["value imports only go down", 1, { "Dlock.ts": `import * as all from "./index.js"` }],
  ["value imports only go down", 1, { "Dlock.ts": `import { Lock } from "effect-dlock"` }],
  ["value imports only go down", 1, { "utils.ts": `import * as key from "./internal/key.js"` }],
  ["value imports have no cycle", 1, {
    "A.ts": `import "./B.js"`,
    "B.ts": `export * from "./C.js"`,
    "C.ts": `import { type A } from "./A.js"`
  }],
  ["ioredis is imported in internal/redis only", 4, {
    "Dlock.ts": `import { Redis } from "ioredis"`,
    "Lock.ts": `import type { Redis } from "ioredis"`,
    "internal/dlock.ts": `export type Client = import("ioredis").Redis`,
    "internal/memory/store.ts": `import x from "ioredis/built/utils"`
  }],
  ["HTTP is imported by HttpFanout only", 3, {
    "Dlock.ts": `import * as HttpClient from "effect/http/HttpClient"`,
    "internal/key.ts": `import type { Headers } from "effect/http"`,
    "internal/tag.ts": `import * as Edition from "#http-edition"`
  }],
  ["HttpFanout is imported by nobody", 3, {
    "index.ts": `export * as HttpFanout from "./HttpFanout.js"`,
    "internal/dlock.ts": `import * as http from "./httpFanout.js"`,
    "Dlock.ts": `import type { Outcome } from "./internal/http/outcome.js"`
  }],
  ["clock, randomness, timers, process and console come from Effect", 12, {
    "internal/x.ts": `
      import { scheduler } from "node:timers/promises"
      Date.now()
      new Date()
      Math.random()
      setTimeout(f, 1)
      setInterval(f, 1)
      setImmediate(f)
      globalThis.setTimeout(f, 1)
      process.env.HOME
      process.nextTick(f)
      console.log(1)
      queue.push(console.error)`
  }],
  ["nothing is typed any", 3, {
    "internal/x.ts": `
      const a: any = 1
      const b = a as any
      type C = Array<any>`
  }],
  ["no file is over 350 lines", 1, { "Dlock.ts": `// first${lines(350)}// last` }],
  ["no function is over 70 lines", 3, {
    "Dlock.ts": `
      const f = () => {${lines(70)}}
      const g = function*() {${lines(70)}}
      class C { m() {${lines(70)}} }`
  }],
  ["every public export has @since and @category", 12, {
    "Dlock.ts": `
      export const a = 1
      /** Words. */
      export class B {}
      /** @since 1.0.0 */
      export interface C {}
      /** @category Models */
      export type D = 1
      export function e(): void
      export { f } from "./internal/dlock.js"
      export * from "./internal/lock.js"`
  }]
]

const tags = "/** @since 1.0.0\n * @category Models */\n"

/** Sources that look like the bad ones and break no rule at all. */
const good: Sources = {
  "index.ts": `export * as Dlock from "./Dlock.js"`,
  "Dlock.ts": `
    import * as Effect from "effect/Effect"
    import { LockLostError } from "./DlockError.js"
    import * as internal from "./internal/dlock.js"
    ${tags}export const once = internal.once
    ${tags}export function f(a: string): void
    export function f(a: number): void
    export { ${tags}g } from "./internal/lock.js"
    export { LockLostError } from "./DlockError.js"
    /** @internal */
    export const h = 1
    const own = { process: 1 }.process + new Date(0).getTime()`,
  "internal/store.ts": `import type { Lock } from "../Lock.js"\nimport * as key from "./key.js"`,
  "internal/key.ts": `export type * from "./store.js"`,
  "internal/engine/lease.ts": `import * as store from "../store.js"\nimport * as queue from "./queue.js"`,
  "internal/redis/client.ts": `import { Redis } from "ioredis"\nimport type { Dlock } from "../../Dlock.js"`,
  "internal/redis/scripts.ts": `const f = () => {${lines(60)}return \`${lines(60)}\${x}${lines(60)}\`}`,
  "internal/dlock.ts": `import * as lease from "./engine/lease.js"\nimport * as redis from "./redis/client.js"`,
  "internal/wire.ts": `// first${lines(299)}`,
  "HttpFanout.ts": `import type { HttpClient } from "effect/http/HttpClient"\nimport "./internal/httpFanout.js"`,
  "internal/httpFanout.ts": `import * as Http from "./http/client.js"`,
  "internal/http/client.ts": `import * as HttpClient from "effect/http/HttpClient"`
}

describe("the rules", () => {
  for (const [rule, count, files] of bad) {
    it(`"${rule}" bites in ${Object.keys(files).join(", ")}: ${Object.values(files)[0]!.trim().split("\n")[0]}`, () => {
      const found = violations(rule, files)
      assert.strictEqual(found.length, count, found.join("\n"))
    })
  }

  it("have all bitten", () => assert.sameMembers([...new Set(bad.map(([rule]) => rule))], ruleNames))

  it("leave good sources alone", () => {
    for (const rule of ruleNames) assert.deepStrictEqual(violations(rule, good), [], rule)
  })
})
