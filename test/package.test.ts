/** The packages as they are published: what is in them, and what becomes of them where they are installed. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import * as path from "node:path"
import { rollup } from "rollup"
import ts from "typescript"
import type { Consumers, Edition } from "./package/consumers.js"
import {
  bin,
  declarationsIn,
  editions,
  evaluate,
  failure,
  filesIn,
  findNode20,
  install,
  root,
  run,
  workspace
} from "./package/consumers.js"
import type { RedisServer } from "./support/redisServer.js"
import { ensureRedisServer, startRedis } from "./support/redisServer.js"

const modules = fs.readdirSync(path.join(root, "src")).flatMap((file) => /^([A-Z]\w*)\.ts$/.exec(file)?.[1] ?? [])

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
  const released = yield* Dlock.askRelease("k")
  const shared = Dlock.fanout("f", Effect.delay(Effect.succeed("answer"), 50))
  const answers = yield* Effect.all([shared, shared], { concurrency: 2 })
  console.log(holders.length, released, ...answers)
}).pipe(Effect.scoped, Effect.provide(Dlock.layerRedis({ url: process.argv[1] })))

Effect.runPromise(program)
`

/** README's first program, on that server. */
const readme = (url: string): string => {
  const block = /```ts\n([^]*?)```/.exec(fs.readFileSync(path.join(root, "README.md"), "utf8"))?.[1] ?? ""
  assert.include(block, "redis://localhost:6379")
  return block.replace("redis://localhost:6379", url)
}

/** What the program logs, up to what it puts in. */
const logged = (block: string): ReadonlyArray<string> =>
  [...block.matchAll(/Effect\.log\(["`]([^"`$]+)/g)].map(([, words]) => words!)

const runMain = `
import { Effect } from "effect"
const { main } = await import("./readme.js")
await Effect.runPromise(main)
`

const importsOf = (file: string): ReadonlyArray<string> =>
  [...fs.readFileSync(file, "utf8").matchAll(/(?:^(?:import|export) .*from |\brequire\(|\bimport\()['"]([^'"]+)['"]/gm)]
    .map(([, specifier]) => specifier!)

/** The files that the first leads to, itself included, and the packages. */
const loadedBy = (first: string) => {
  const files = new Set<string>()
  const packages = new Set<string>()
  const visit = (file: string) => {
    if (files.has(file)) return
    files.add(file)
    for (const specifier of importsOf(file)) {
      if (specifier.startsWith(".")) visit(path.resolve(path.dirname(file), specifier))
      else packages.add(specifier)
    }
  }
  visit(first)
  return { files, packages }
}

let consumers: ReadonlyMap<Edition, Consumers>
let server: RedisServer

beforeAll(async () => {
  ensureRedisServer()
  server = await startRedis()
  await run(root, "npm", "run", "build")
  const programs = { "consumer.ts": program, "consumer.cts": program, "readme.ts": readme(server.url) }
  consumers = new Map(
    await Promise.all(editions.map(async (edition) => [edition, await install(edition, programs)] as const))
  )
}, 300_000)

afterAll(async () => {
  await server.stop()
  fs.rmSync(workspace, { recursive: true, force: true })
})

const suite = (edition: Edition): void => {
  const { attw, formats, http, major, other, sources } = edition
  const built = `needs-effect-${major}`
  let made: Consumers
  let consumer: string
  let installed: string

  beforeAll(() => {
    made = consumers.get(edition)!
    consumer = made.npm
    installed = path.join(consumer, "node_modules", "effect-dlock")
  })

  const declarations = () => declarationsIn(path.join(installed, built))

  /** What a bundler leaves of the package for a program. */
  const bundled = async (code: string): Promise<string> => {
    const file = path.join(consumer, "bundled.js")
    fs.writeFileSync(file, code.replace("effect-dlock", `./node_modules/effect-dlock/${built}`))
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

  it("is clean for publint", async () => {
    await run(consumer, bin("publint"), "run", "--strict", made.tarball)
  })

  it("has types that resolve as its code does, in every public module", async () => {
    // attw does not expand "./*" by itself.
    const entries = modules.map((name) => `./${name}`)
    await run(consumer, bin("attw"), made.tarball, "--profile", attw, "--include-entrypoints", ...entries)
  })

  it("holds the build, the sources, the licence and the docs, and nothing else", () => {
    assert.sameMembers(
      fs.readdirSync(installed),
      ["CHANGELOG.md", "LICENSE", "README.md", "docs", built, "package.json", ...sources]
    )
    const { version } = JSON.parse(fs.readFileSync(path.join(installed, "package.json"), "utf8"))
    assert.match(version, new RegExp(`^${major}\\.`))
  })

  // Node requires ES modules, too.
  it("gives every public module to import and to require", async () => {
    const names = JSON.stringify(modules)
    const kinds = await Promise.all([
      evaluate(
        consumer,
        "module",
        `for (const name of ${names}) console.log(typeof await import("effect-dlock/" + name))`
      ),
      evaluate(consumer, "commonjs", `for (const name of ${names}) console.log(typeof require("effect-dlock/" + name))`)
    ])
    const all = "object\n".repeat(modules.length)
    assert.deepStrictEqual(kinds, [all, all])
  })

  it("keeps internal modules to itself", async () => {
    const refusals = await Promise.all([
      failure(evaluate(consumer, "module", `await import("effect-dlock/internal/store")`)),
      failure(evaluate(consumer, "commonjs", `require("effect-dlock/internal/store")`))
    ])
    for (const words of refusals) assert.include(words, "ERR_PACKAGE_PATH_NOT_EXPORTED")
  })

  it("declares what its own Effect has, in files that a public module needs", () => {
    const imported = declarations().flatMap(importsOf)
    assert.isAbove(imported.length, 100)
    assert.deepStrictEqual(imported.filter((specifier) => /^#|effect3|shim/.test(specifier)), [])
    const reached = new Set<string>()
    const visit = (file: string) => {
      if (reached.has(file)) return
      reached.add(file)
      for (const specifier of importsOf(file)) {
        if (!specifier.startsWith(".")) continue
        visit(path.resolve(path.dirname(file), specifier.replace(/\.(c?)js$/, ".d.$1ts")))
      }
    }
    for (const file of declarations()) if (!file.includes("/internal/")) visit(file)
    assert.sameMembers([...reached], [...declarations()])
  })

  it("compiles, every declaration by itself, and takes a lock, as ES module and as CommonJS", async () => {
    assert.strictEqual(made.compileErrors, "")
    assert.include(fs.readFileSync(path.join(consumer, "consumer.cjs"), "utf8"), `require("effect-dlock")`)
    assert.strictEqual(await run(consumer, process.execPath, "consumer.js"), "k true function\n")
    assert.strictEqual(await run(consumer, process.execPath, "consumer.cjs"), "k true function\n")
  })

  for (const manager of ["npm", "pnpm"] as const) {
    it(`runs README's first program, installed by ${manager} beside the newest Effect ${major}`, async () => {
      const folder = made[manager]
      const block = readme(server.url)
      const { outputText } = ts.transpileModule(block, { compilerOptions: { module: ts.ModuleKind.ESNext } })
      fs.writeFileSync(path.join(folder, "readme.js"), outputText)
      const effect = JSON.parse(fs.readFileSync(path.join(folder, "node_modules/effect/package.json"), "utf8"))
      assert.match(effect.version, new RegExp(`^${major}\\.`))
      const printed = await evaluate(folder, "module", runMain)
      assert.isNotEmpty(logged(block))
      for (const words of logged(block)) assert.include(printed, words)
    })
  }

  it("says what is wrong beside another Effect: to npm, to pnpm, and when it is imported all the same", async () => {
    const peer = `^${major}.`
    assert.include(made.refusal, "ERESOLVE")
    assert.include(made.refusal, `peer effect@"${peer}`)
    assert.match(
      made.warning,
      new RegExp(`effect-dlock ${major}\\.[^]*unmet peer effect@\\^${major}\\.\\S*: found ${other}\\.`)
    )
    const names = ["effect-dlock", ...modules.map((name) => `effect-dlock/${name}`)]
    for (const folder of made.wrong) {
      for (const type of ["module", "commonjs"] as const) {
        const load = type === "module" ? "import" : "require"
        const words = await evaluate(
          folder,
          type,
          `(async () => {
            for (const name of ${JSON.stringify(names)}) {
              try { await ${load}(name); console.log("worked\\n") } catch (error) { console.log(error.stack + "\\n") }
            }
          })()`
        )
        const told = words.trim().split("\n\n")
        assert.strictEqual(told.length, names.length)
        // An ES module shows the path of the file that needs what is not there.
        const clear = new RegExp(`/effect-dlock/${built}/|effect-dlock ${major} is for Effect ${major}`)
        for (const one of told) assert.match(one, clear)
      }
    }
  }, 60_000)

  it("runs its scripts on Redis", async () => {
    const imports = {
      module: `import { Dlock } from "effect-dlock"; import * as Effect from "effect/Effect"`,
      commonjs: `const { Dlock } = require("effect-dlock"); const { Effect } = require("effect")`
    }
    for (const type of formats) {
      const printed = await evaluate(consumer, type, imports[type] + onRedis, server.url)
      assert.strictEqual(printed, "1 1 answer answer\n")
    }
  })

  it("does all that is public on Node 20", async () => {
    const node20 = await findNode20()
    fs.copyFileSync(path.join(root, "test/package/smoke.mjs"), path.join(consumer, "smoke.mjs"))
    const printed = await run(consumer, node20, "smoke.mjs", server.url, http)
    assert.match(printed, /\d\d public names, Node 20\.\d+\.\d+\n$/)
  }, 120_000)

  it("has each class once, whichever module it comes from", async () => {
    const same = `console.log(
      all.DlockError.LockLostError === error.LockLostError && error.LockLostError === dlock.LockLostError,
      all.Dlock.Dlock === dlock.Dlock
    )`
    const names = { all: "", error: "/DlockError", dlock: "/Dlock" }
    const load = { module: "await import", commonjs: "require" }
    for (const type of formats) {
      const loaded = Object.entries(names).map(([name, path]) => `const ${name} = ${load[type]}("effect-dlock${path}")`)
      assert.strictEqual(await evaluate(consumer, type, [...loaded, same].join("\n")), "true true\n")
    }
  })

  // Node takes about a millisecond to find and read one, even a small one.
  it("is few files to load, and its errors load no driver", () => {
    for (const type of formats) {
      const extension = type === "module" ? "js" : "cjs"
      const dlock = loadedBy(path.join(installed, built, `Dlock.${extension}`))
      assert.include([...dlock.packages], "ioredis")
      assert.strictEqual(dlock.files.size, 3)
      const errors = loadedBy(path.join(installed, built, `DlockError.${extension}`))
      assert.isAtMost(errors.files.size, 2)
      assert.notInclude([...errors.packages], "ioredis")
      assert.include([...errors.packages], "effect/Schema")
    }
  })

  it("imports its peers and Node, and nothing else", () => {
    for (const file of filesIn(path.join(installed, built), /\.c?js$/)) {
      for (const specifier of importsOf(file)) {
        assert.match(specifier, /^(\.|node:|ioredis$|effect\/|@effect\/platform\/|effect-dlock|effect$)/, file)
      }
    }
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
    const maps = filesIn(path.join(installed, built), /\.map$/)
    const all = maps.flatMap((map) =>
      (JSON.parse(fs.readFileSync(map, "utf8")) as { readonly sources: ReadonlyArray<string> })
        .sources.map((source) => path.resolve(path.dirname(map), source))
    )
    assert.isAbove(new Set(all).size, 60)
    assert.deepStrictEqual(all.filter((source) => !fs.existsSync(source)), [])
  })
}

for (const edition of editions) describe(`the package for Effect ${edition.major}`, () => suite(edition))
