/**
 * The documents are held to what they say: every example compiles, every link leads somewhere, every rule of
 * docs/protocol.md is where it says it is, every quoted test exists, and the documented ACL is enough and no more.
 */
import { assert, describe, it } from "@effect/vitest"
import { Dlock, PubSubLayer, RedisLayer } from "effect-dlock"
import * as HttpFanout from "effect-dlock/HttpFanout"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import { Redis } from "ioredis"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"
import { redis } from "./support/redisServer.js"
import { countCommands } from "./support/redisSpy.js"

/** Texts by path from the root of the project, with forward slashes. */
type Texts = Readonly<Record<string, string>>

const root = fileURLToPath(new URL("..", import.meta.url))

const filesIn = (folder: string, extension: string): ReadonlyArray<string> =>
  fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(extension))
    .map((file) => path.posix.join(folder, file.replaceAll("\\", "/")))

const read = (files: ReadonlyArray<string>): Texts =>
  Object.fromEntries(files.map((file) => [file, fs.readFileSync(path.join(root, file), "utf8")]))

const documents = read(["README.md", "CHANGELOG.md", "CONTRIBUTING.md", ...filesIn("docs", ".md")])
const sources = read(filesIn("src", ".ts"))
const protocol = documents["docs/protocol.md"] ?? ""

const lineOf = (text: string, at: number): number => text.slice(0, at).split("\n").length

// --------------------------------------------------------------------------------------------------------- examples

interface Block {
  readonly file: string
  /** Whose names it speaks. */
  readonly effect: 3 | 4
  /** Of the first line of code. */
  readonly line: number
  readonly code: string
}

const tsBlocks = (file: string, text: string, firstLine = 1): ReadonlyArray<Block> =>
  [...text.matchAll(/^```ts( effect3)?\n(.*?)^```$/gms)].map(({ 1: effect3, 2: code = "", index }) => ({
    file,
    effect: effect3 === undefined ? 4 : 3,
    line: firstLine + lineOf(text, index),
    code
  }))

const docComments = (text: string) => [...text.matchAll(/^ *\/\*\*.*?\*\//gms)]

/** The examples of doc comments. One without a block of code is no example. */
const exampleBlocks = (file: string, text: string): ReadonlyArray<Block> =>
  docComments(text).filter(([comment]) => comment.includes("@example")).flatMap(({ 0: comment, index }) => {
    const line = lineOf(text, index)
    const blocks = tsBlocks(file, comment.replaceAll(/^ *\* ?/gm, ""), line)
    return blocks.length > 0 ? blocks : [{ file, effect: 4, line, code: "an @example without a block of ts" }]
  })

/** Where the examples for each Effect would be, and with which options they compile. */
const homes = {
  4: { folder: "test", config: "tsconfig.json" },
  3: { folder: "effect3", config: "effect3/tsconfig.json" }
}

const parseConfig = (effect: 3 | 4): ts.CompilerOptions => {
  const overrides = { noEmit: true, declaration: false, declarationMap: false }
  const config = ts.getParsedCommandLineOfConfigFile(path.join(root, homes[effect].config), overrides, {
    ...ts.sys,
    onUnRecoverableConfigFileDiagnostic: ({ messageText }) => assert.fail(JSON.stringify(messageText))
  })
  if (config === undefined) return assert.fail(`no ${homes[effect].config}`)
  // What tests have in place of them is not for examples.
  const { "@effect/vitest": _, vitest: __, ...paths } = config.options.paths ?? {}
  return { ...config.options, paths }
}

const parsed = new Map<string, ts.SourceFile | undefined>()

/** What the compiler has against the blocks: each is a module of its own, all for one Effect are in one program. */
const compile = (blocks: ReadonlyArray<Block>): ReadonlyArray<string> =>
  ([4, 3] as const).flatMap((effect) => compileFor(effect, blocks.filter((block) => block.effect === effect)))

const compileFor = (effect: 3 | 4, blocks: ReadonlyArray<Block>): ReadonlyArray<string> => {
  if (blocks.length === 0) return []
  const options = parseConfig(effect)
  const host = ts.createCompilerHost(options)
  const home = path.join(root, homes[effect].folder)
  const modules = new Map(blocks.map((block, i) => [path.posix.join(home, `docs-block-${i}.ts`), block]))
  const getSourceFile = host.getSourceFile
  host.getSourceFile = (name, version) => {
    const block = modules.get(name)
    // As many lines down as in its document, so that the compiler's lines are the document's.
    if (block !== undefined) return ts.createSourceFile(name, "\n".repeat(block.line - 1) + block.code, version)
    if (!parsed.has(name)) parsed.set(name, getSourceFile(name, version))
    return parsed.get(name)
  }
  const program = ts.createProgram([...modules.keys()], options, host)
  return [...modules].flatMap(([name, { file }]) => {
    const module = program.getSourceFile(name)
    return [...program.getSyntacticDiagnostics(module), ...program.getSemanticDiagnostics(module)].map((found) => {
      const line = (module?.getLineAndCharacterOfPosition(found.start ?? 0).line ?? 0) + 1
      return `${file}:${line} ${ts.flattenDiagnosticMessageText(found.messageText, "\n  ")}`
    })
  })
}

// ------------------------------------------------------------------------------------------------------------ links

const withoutCode = (text: string): string =>
  text.replaceAll(/^```.*?^```$/gms, (code) => code.replaceAll(/[^\n]/g, " "))

const slug = (heading: string): string =>
  heading.toLowerCase().replaceAll(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")

const anchors = (text: string): ReadonlyArray<string> =>
  [...withoutCode(text).matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) => slug(heading))

/** Relative links to a file, or to a heading, that is not there. */
const brokenLinks = (texts: Texts): ReadonlyArray<string> =>
  Object.entries(texts).flatMap(([file, text]) =>
    [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(({ 1: link = "", index }) => {
      const [target = "", anchor] = link.split("#")
      if (/^\w+:/.test(target)) return []
      const found = target === "" ? file : path.posix.join(path.posix.dirname(file), target)
      const isThere = found in texts || fs.existsSync(path.join(root, found))
      const hasAnchor = anchor === undefined || anchors(texts[found] ?? "").includes(anchor)
      return isThere && hasAnchor ? [] : [`${file}:${lineOf(text, index)} ${link}`]
    })
  )

// ------------------------------------------------------------------------------------------------------------ rules

/** The rules by number, each with its text. */
const rulesOf = (text: string): ReadonlyMap<number, string> =>
  new Map(
    text.split(/^(?=#+ )/m).flatMap((section) => {
      const number = /^### R(\d+)\b/.exec(section)?.[1]
      return number === undefined ? [] : [[Number(number), section] as const]
    })
  )

const isForLater = (rule: string): boolean => /^Comes with /m.test(rule)

/** Rules that the sources cite and the document does not have, and the other way round. */
const ruleProblems = (text: string, code: Texts): ReadonlyArray<string> => {
  const rules = rulesOf(text)
  const cited = Object.entries(code).flatMap(([file, source]) =>
    [...source.matchAll(/\bR(\d+)\b/g)].map(({ 1: number, index }) => ({
      number: Number(number),
      place: `${file}:${lineOf(source, index)}`
    }))
  )
  const wanted = Array.from({ length: 39 }, (_, i) => i + 1).filter((number) => number <= 25 || number >= 30)
  return [
    ...wanted.filter((number) => !rules.has(number)).map((number) => `R${number} is not in the document`),
    ...cited.filter(({ number }) => !rules.has(number)).map(({ number, place }) => `${place} cites R${number}`),
    ...[...rules].filter(([number, rule]) => !isForLater(rule) && !cited.some((one) => one.number === number))
      .map(([number]) => `R${number} is nowhere in src`)
  ]
}

/** A place is `file.ts` (`name`, `name`). Each name must be a word of the file, which may be named from src/internal. */
const missingPlaces = (file: string, text: string): ReadonlyArray<string> =>
  [...text.matchAll(/`([\w./-]+\.ts)`(?:\s+\(((?:`[^`]+`(?:,\s+)?)+)\))?/g)].flatMap(
    ({ 1: name = "", 2: words = "", index }) => {
      const at = `${file}:${lineOf(text, index)}`
      const found = [name, `src/${name}`, `src/internal/${name}`].find((one) => fs.existsSync(path.join(root, one)))
      if (found === undefined) return [`${at} ${name}`]
      const code = fs.readFileSync(path.join(root, found), "utf8")
      return [...words.matchAll(/`([^`]+)`/g)].map(([, word = ""]) => word)
        .filter((word) => !new RegExp(`(?<!\\w)${word.replaceAll(/[^\w\s]/g, "\\$&")}(?!\\w)`).test(code))
        .map((word) => `${at} ${word} in ${found}`)
    }
  )

/** A quoted test is "its name" (`its file`), or its name as a link to its file: ["its name"](its file). */
const citation = /"([^"\n]+)"(?: \(`(test\/[\w./-]+)`\)|\]\(([\w./-]+)\))/

const missingTests = (file: string, text: string): ReadonlyArray<string> =>
  [...text.matchAll(new RegExp(citation, "g"))].flatMap(({ 1: name = "", 2: suite, 3: link = "", index }) => {
    const at = `${file}:${lineOf(text, index)}`
    const cited = suite ?? path.posix.join(path.posix.dirname(file), link)
    const found = path.join(root, cited)
    return fs.existsSync(found) && fs.readFileSync(found, "utf8").includes(name) ? [] : [`${at} "${name}" in ${cited}`]
  })

const cellsOf = (row: string): ReadonlyArray<string> => row.split("|").slice(1, -1).map((cell) => cell.trim())

/** Tables that do not say by which tests they are shown, and rows that none is named for. */
const unshown = (file: string, text: string): ReadonlyArray<string> =>
  [...withoutCode(text).matchAll(/(?:^\|.*\|\n)+/gm)].flatMap(({ 0: table, index }) => {
    const [head = "", , ...rows] = table.trimEnd().split("\n")
    const line = lineOf(text, index)
    if (cellsOf(head).at(-1) !== "shown by") return [`${file}:${line} no column "shown by"`]
    return rows.flatMap((row, i) =>
      citation.test(cellsOf(row).at(-1) ?? "") ? [] : [`${file}:${line + 2 + i} ${cellsOf(row)[0]}`]
    )
  })

// ------------------------------------------------------------------------------------------------------------ tests

describe("the documents", () => {
  it("have examples that compile", () => {
    const inDocuments = Object.entries(documents).flatMap(([file, text]) => tsBlocks(file, text))
    const inSources = Object.entries(sources).flatMap(([file, text]) => exampleBlocks(file, text))
    assert.isAbove(inDocuments.length, 2)
    assert.isAbove(inDocuments.filter(({ effect }) => effect === 3).length, 2)
    assert.isAbove(inSources.length, 2)
    assert.deepStrictEqual(compile([...inDocuments, ...inSources]), [])
  }, 120_000)

  it("name the headers that do not count for HttpFanout", () => {
    const table = /^\| header \|(.*?)\n\n/ms.exec(documents["docs/http.md"] ?? "")?.[1] ?? ""
    const named = [...table.matchAll(/`([\w-]+)(: 0)?`/g)].map(([, name = ""]) => name.toLowerCase())
    // `Vary` is a header of responses.
    assert.sameMembers(named, [...HttpFanout.harmlessHeaders, "vary", "content-length"])
  })

  it("have links that lead somewhere", () => assert.deepStrictEqual(brokenLinks(documents), []))

  it("have the rules that the sources cite, and the other way round", () => {
    assert.deepStrictEqual(ruleProblems(protocol, sources), [])
  })

  it("name files and functions that exist", () => {
    assert.deepStrictEqual(Object.entries(documents).flatMap(([file, text]) => missingPlaces(file, text)), [])
  })

  it("quote tests that exist", () => {
    assert.deepStrictEqual(Object.entries(documents).flatMap(([file, text]) => missingTests(file, text)), [])
  })

  it("name a test for every row of docs/guarantees.md", () => {
    const file = "docs/guarantees.md"
    assert.isAbove([...(documents[file] ?? "").matchAll(new RegExp(citation, "g"))].length, 50)
    assert.deepStrictEqual(unshown(file, documents[file] ?? ""), [])
  })
})

describe("the checks of the documents", () => {
  it("find a wrong example, and one for the other Effect, and its line", () => {
    const markdown =
      "# Title\n\n```ts\nimport { Dlock } from \"effect-dlock\"\nDlock.once(1)\n```\n\n```ts\nconst x =\n```\n"
    const each = (name: string) =>
      `import { Effect } from "effect"\nexport const fiber = Effect.${name}(Effect.void)\n\`\`\`\n`
    const names = `\`\`\`ts\n${each("fork")}\`\`\`ts effect3\n${each("forkChild")}\`\`\`ts effect3\n${each("fork")}`
    const source =
      "\n/**\n * Words.\n *\n * @example\n * ```ts\n * export const n: number = \"\"\n * ```\n */\n/** @example none */\n"
    const found = compile([
      ...tsBlocks("a.md", markdown),
      ...exampleBlocks("b.ts", source),
      ...tsBlocks("c.md", names)
    ])
    assert.deepStrictEqual([...new Set(found.map((one) => one.split(" ")[0]))], [
      "a.md:5",
      "a.md:9",
      "b.ts:7",
      "b.ts:10",
      "c.md:3",
      "c.md:7"
    ])
  }, 120_000)

  it("find a wrong link", () => {
    const texts = {
      "a.md": "# One: two\n[x](#one-two) [y](docs/b.md#b) [z](#b) [u](c.md) [v](https://c.d/e)",
      "docs/b.md": "# B"
    }
    assert.deepStrictEqual(brokenLinks(texts), ["a.md:2 #b", "a.md:2 c.md"])
  })

  it("find a rule without a place, and a place without a rule", () => {
    const rules = Array.from({ length: 39 }, (_, i) => `### R${i + 1}: rule\n\nComes with time.\n`)
    const text = rules.join("").replace("### R3: rule", "### Not").replace(
      "### R30: rule\n\nComes with time.",
      "### R30: this\n\nIs so."
    )
    const found = ruleProblems(text, { "a.ts": "// R1\n// (R40)" })
    assert.deepStrictEqual(found, ["R3 is not in the document", "a.ts:2 cites R40", "R30 is nowhere in src"])
  })

  it("find a function, a file and a test that are not there", () => {
    const text = "`engine/deadline.ts` (`localEnd`, `localStart`)\n`engine/none.ts`\n\"a lie\" (`test/docs.test.tsx`)"
    assert.deepStrictEqual(missingPlaces("a.md", text), [
      "a.md:1 localStart in src/internal/engine/deadline.ts",
      "a.md:2 engine/none.ts"
    ])
    assert.deepStrictEqual(missingTests("a.md", text), ["a.md:3 \"a lie\" in test/docs.test.tsx"])
    const links = "[\"a lie\"](../test/docs.test.ts)\n[\"no such test\"](../test/layering.test.ts)\n[a word](b.md)"
    assert.deepStrictEqual(missingTests("docs/a.md", links), ["docs/a.md:2 \"no such test\" in test/layering.test.ts"])
  })

  it("find a row that no test is named for, and a table that names none", () => {
    const cited = "[\"x\"](../test/docs.test.ts)"
    const rows = [`| a | ${cited} |`, "| b | |", "| c | \"x\" |", `| ${cited} | d |`].join("\n")
    const text =
      `# A\n\n| promise | shown by |\n| --- | --- |\n${rows}\n\n| what | how long |\n| --- | --- |\n| e | 1 s |\n`
    assert.deepStrictEqual(unshown("a.md", text), [
      "a.md:6 b",
      "a.md:7 c",
      `a.md:8 ${cited}`,
      "a.md:10 no column \"shown by\""
    ])
  })
})

// -------------------------------------------------------------------------------------------------------------- ACL

/** Everything that asks Redis for something, on clients that the caller owns: those are unsubscribed at the end. */
const useEverything = Effect.gen(function*() {
  yield* Effect.scoped(Dlock.once("free"))
  const isHeld = yield* Latch.make()
  // Forked before the lock is taken: a child of the fiber that holds it must not wait for it.
  const waiter = yield* Effect.forkChild(isHeld.whenOpen(Effect.scoped(Dlock.lock("contended", { ttl: "900 millis" }))))
  yield* Effect.scoped(Effect.gen(function*() {
    const lock = yield* Dlock.lock("contended", { ttl: "900 millis" })
    yield* isHeld.open
    yield* Effect.sleep("1 second")
    assert.strictEqual((yield* Dlock.inspect("contended")).waiting, 1)
    yield* lock.extend("2 seconds")
  }))
  yield* Fiber.join(waiter)
  const prices = yield* Dlock.readWriteLock("prices")
  yield* Effect.scoped(Effect.flatMap(prices.write, (lock) => lock.downgrade))
  const permits = yield* Dlock.semaphore("permits", { permits: 3 })
  yield* permits.withPermits(2)(permits.available)
  yield* Dlock.withMulti(Effect.void, ["one", "two"])
  const large = Effect.delay(Effect.succeed("x".repeat(70_000)), "400 millis")
  const flight = Dlock.fanout("shared", large, { ttl: "900 millis", keep: "1 minute" })
  assert.strictEqual((yield* flight).length, 70_000)
  assert.strictEqual((yield* flight).length, 70_000)
  yield* Effect.scoped(Effect.gen(function*() {
    const lock = yield* Dlock.lock("forced")
    assert.strictEqual(yield* Dlock.forceRelease("forced"), 1)
    assert.strictEqual((yield* Effect.flip(lock.lost)).reason, "Revoked")
  }))
})

const client = (url: string) =>
  Effect.acquireRelease(Effect.sync(() => new Redis(url)), (client) => Effect.sync(() => client.disconnect()))

describe("the ACL of docs/operations.md", () => {
  it.live("is enough, and no more than that", () =>
    Effect.gen(function*() {
      const words =
        /^ACL SETUSER app .*?(?=^```)/ms.exec(documents["docs/operations.md"] ?? "")?.[0].trim().split(/\s+/) ?? []
      const [, , , ...rules] = words.map((word) => word.startsWith(">") ? ">secret" : word)
      const { port, url } = yield* redis
      const admin = yield* client(url)
      yield* Effect.promise(() => admin.call("ACL", "SETUSER", "app", ...rules))

      const limited = `redis://app:secret@127.0.0.1:${port}`
      const { counts } = yield* Effect.promise(() =>
        countCommands(
          admin,
          Effect.scoped(Effect.gen(function*() {
            const clients = Layer.merge(
              RedisLayer.layerClient(yield* client(limited)),
              PubSubLayer.layerClient(yield* client(limited))
            )
            yield* useEverything.pipe(Effect.provide(Dlock.layer), Effect.provide(clients))
          }))
        )
      )
      assert.deepStrictEqual(yield* Effect.promise(() => admin.call("ACL", "LOG")), [])
      // Saying hello needs no right, and what clients tell about themselves may be refused.
      const unasked = ["auth", "hello", "client|setinfo"]
      const used = Object.keys(counts).filter((command) => !unasked.includes(command))
      const allowed = rules.flatMap((rule) => /^\+(.+)/.exec(rule)?.[1] ?? [])
      assert.sameMembers(used, allowed)
    }), 30_000)
})
