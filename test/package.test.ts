import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { rollup } from "rollup"
import { ensureRedisServer, startRedis } from "./support/redisServer.js"

const root = fileURLToPath(new URL("..", import.meta.url))
const modules = fs.readdirSync(path.join(root, "src")).flatMap((file) => /^([A-Z]\w*)\.ts$/.exec(file)?.[1] ?? [])

// A project of somebody else, outside of ours, so that nothing is found in our node_modules by accident.
const consumer = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "effect-dlock-package-")))
let tarball: string

/** What the command prints. Throws with all it printed when it fails. */
const run = async (cwd: string, command: string, ...args: ReadonlyArray<string>): Promise<string> => {
  try {
    const child = promisify(execFile)(command, args, { cwd, encoding: "utf8", maxBuffer: 2 ** 26 })
    child.child.stdin?.end()
    return (await child).stdout
  } catch (error) {
    const { stderr, stdout } = error as { readonly stderr: string; readonly stdout: string }
    throw new Error(`${command} ${args.join(" ")}\n${stdout}${stderr}`, { cause: error })
  }
}

const bin = (name: string): string => path.join(root, "node_modules", ".bin", name)
const evaluate = (type: "module" | "commonjs", code: string): Promise<string> =>
  run(consumer, process.execPath, `--input-type=${type}`, "--eval", code)

// One program, read as an ES module in consumer.ts and as CommonJS in consumer.cts.
const program = `
import { Dlock, DlockError } from "effect-dlock"
import * as Subpath from "effect-dlock/Dlock"
import * as Effect from "effect/Effect"

// @ts-expect-error the types are there: a key is no number
Dlock.once(1)
// @ts-expect-error and what is internal has none
type Store = typeof import("effect-dlock/internal/store")

const key: Effect.Effect<string, DlockError.LockAcquisitionError | DlockError.BackendError | DlockError.InvalidKeyError> =
  Effect.scoped(Dlock.once("k")).pipe(Effect.map((lock) => lock.key), Effect.provide(Dlock.layerMemory))

Effect.runPromise(key).then((key) => console.log(key, Dlock.once === Subpath.once, typeof DlockError.LockLostError))
`

// Nearly every script, as the build has shortened them.
const onRedis = `
const inTurn = Effect.all([Dlock.withLock(Effect.sleep(50), "k"), Dlock.withLock(Effect.void, "k")], { concurrency: 2 })

const program = Effect.gen(function*() {
  yield* inTurn
  const lock = yield* Dlock.lock("k", { ttl: "300 millis" })
  yield* Effect.sleep(500)
  yield* lock.check
  const { holders } = yield* Dlock.inspect("k")
  const released = yield* Dlock.forceRelease("k")
  const shared = Dlock.fanout("f", Effect.delay(Effect.succeed("answer"), 50))
  const answers = yield* Effect.all([shared, shared], { concurrency: 2 })
  console.log(holders.length, released, ...answers)
}).pipe(
  Effect.scoped,
  Effect.provide(Dlock.layerRedis({ url: process.argv[1] })),
  // That a lock was lost, as it was taken by force.
  Effect.provide(Logger.remove(Logger.defaultLogger))
)

Effect.runPromise(program)
`

/** What a bundler leaves of the package for a program. */
const bundled = async (code: string): Promise<string> => {
  const file = path.join(consumer, "bundled.js")
  fs.writeFileSync(file, code.replace("effect-dlock", "./node_modules/effect-dlock/dist"))
  // As `sideEffects` of our package.json says, which Rollup alone does not read.
  const bundle = await rollup({
    input: file,
    external: (id) => /^(effect|ioredis|node:)/.test(id),
    treeshake: { moduleSideEffects: false }
  })
  const { output: [chunk] } = await bundle.generate({})
  await bundle.close()
  return chunk.code
}

beforeAll(async () => {
  await run(root, "npm", "run", "build")
  tarball = (await run(root, "npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", consumer)).trim()
  fs.writeFileSync(path.join(consumer, "package.json"), JSON.stringify({ private: true, type: "module" }))
  // The peers are linked, not installed: nothing is fetched.
  await run(
    consumer,
    "npm",
    "install",
    "--legacy-peer-deps",
    "--prefer-offline",
    "--no-audit",
    "--no-fund",
    `./${tarball}`
  )
  for (const peer of ["@effect", "@types", "effect", "ioredis"]) {
    fs.symlinkSync(path.join(root, "node_modules", peer), path.join(consumer, "node_modules", peer), "dir")
  }
}, 180_000)

afterAll(() => fs.rmSync(consumer, { recursive: true, force: true }))

describe("the packed package", () => {
  it("is clean for publint", async () => {
    await run(consumer, bin("publint"), "run", "--strict", tarball)
  })

  it("has types that resolve as its code does, in every public module", async () => {
    // attw does not expand "./*" by itself.
    const entries = modules.map((name) => `./${name}`)
    await run(consumer, bin("attw"), tarball, "--profile", "node16", "--include-entrypoints", ...entries)
  })

  it("holds the build, the sources, the licence and the docs, and nothing else", async () => {
    const files = fs.readdirSync(path.join(consumer, "node_modules", "effect-dlock"))
    assert.sameMembers(files, ["CHANGELOG.md", "LICENSE", "README.md", "dist", "docs", "package.json", "src"])
  })

  it("gives every public module to import and to require", async () => {
    for (const name of modules) {
      const kinds = await Promise.all([
        evaluate("module", `console.log(typeof await import("effect-dlock/${name}"))`),
        evaluate("commonjs", `console.log(typeof require("effect-dlock/${name}"))`)
      ])
      assert.deepStrictEqual(kinds, ["object\n", "object\n"])
    }
  })

  it("keeps internal modules to itself", async () => {
    const refusal = "ERR_PACKAGE_PATH_NOT_EXPORTED"
    for (
      const reading of [
        () => evaluate("module", `await import("effect-dlock/internal/store")`),
        () => evaluate("commonjs", `require("effect-dlock/internal/store")`)
      ]
    ) {
      const words = await reading().then(() => "it was found", String)
      assert.include(words, refusal)
    }
  })

  it("compiles and takes a lock, as ES module and as CommonJS", async () => {
    fs.writeFileSync(path.join(consumer, "consumer.ts"), program)
    fs.writeFileSync(path.join(consumer, "consumer.cts"), program)
    const options = ["--strict", "--exactOptionalPropertyTypes", "--target", "ES2022", "--module", "NodeNext"]
    await run(consumer, bin("tsc"), ...options, "consumer.ts", "consumer.cts")
    assert.include(fs.readFileSync(path.join(consumer, "consumer.cjs"), "utf8"), `require("effect-dlock")`)
    assert.strictEqual(await run(consumer, process.execPath, "consumer.js"), "k true function\n")
    assert.strictEqual(await run(consumer, process.execPath, "consumer.cjs"), "k true function\n")
  }, 120_000)

  it("runs its scripts on Redis", async () => {
    ensureRedisServer()
    const server = await startRedis()
    try {
      for (
        const [type, imports] of [
          ["module", `import { Dlock } from "effect-dlock"; import { Effect, Logger } from "effect"`],
          ["commonjs", `const { Dlock } = require("effect-dlock"); const { Effect, Logger } = require("effect")`]
        ] as const
      ) {
        const printed = await run(
          consumer,
          process.execPath,
          `--input-type=${type}`,
          "--eval",
          imports + onRedis,
          server.url
        )
        assert.strictEqual(printed, "1 1 answer answer\n")
      }
    } finally {
      await server.stop()
    }
  })

  it("has each class once, whichever module it comes from", async () => {
    const same = `console.log(
      all.DlockError.LockLostError === error.LockLostError && error.LockLostError === dlock.LockLostError,
      all.Dlock.Dlock === dlock.Dlock
    )`
    const names = { all: "", error: "/DlockError", dlock: "/Dlock" }
    const load = (keyword: string) =>
      Object.entries(names).map(([name, path]) => `const ${name} = ${keyword}("effect-dlock${path}")`).join("\n")
    assert.strictEqual(await evaluate("module", `${load("await import")}\n${same}`), "true true\n")
    assert.strictEqual(await evaluate("commonjs", `${load("require")}\n${same}`), "true true\n")
  })

  // Node takes about a millisecond to find and read one, even a small one.
  it("is few files to load, and its errors load no driver", async () => {
    const loadedBy = async (name: string): Promise<ReadonlyArray<string>> =>
      JSON.parse(
        await evaluate(
          "commonjs",
          `require("effect-dlock/${name}"); console.log(JSON.stringify(Object.keys(require.cache)))`
        )
      )
    const ours = (files: ReadonlyArray<string>) =>
      files.filter((file) => file.includes("/node_modules/effect-dlock/")).length
    assert.isAtMost(ours(await loadedBy("Dlock")), 3)
    const errors = await loadedBy("DlockError")
    assert.strictEqual(ours(errors), 1)
    assert.isFalse(errors.some((file) => file.includes("ioredis")))
  })

  it("leaves what is not used out of a bundle", async () => {
    const memory = /class ServerImpl/
    assert.match(await bundled(`export { layerMemory } from "effect-dlock/Dlock.js"`), memory)
    const core = await bundled(`export { layerRedis, withLock } from "effect-dlock/Dlock.js"`)
    assert.include(core, "evalsha")
    assert.notMatch(core, memory)
    const byNamespace = await bundled(`import { Dlock } from "effect-dlock/index.js"
      export const program = Dlock.once("k")`)
    assert.notMatch(byNamespace, /evalsha/)
  })

  it("has source maps, down to the sources", () => {
    const shared = path.join(consumer, "node_modules", "effect-dlock", "dist", "internal", "shared", "dlock.js")
    const { sources } = JSON.parse(fs.readFileSync(`${shared}.map`, "utf8")) as {
      readonly sources: ReadonlyArray<string>
    }
    assert.isAbove(sources.length, 40)
    for (const source of sources) assert.isTrue(fs.existsSync(path.resolve(path.dirname(shared), source)), source)
  })
})
