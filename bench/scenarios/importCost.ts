/** What importing the library costs: time in a fresh process, and bytes in a bundle. */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { folderOf, loadPeer } from "../support/peers.js"
import type { Section } from "../support/report.js"
import { format, formatAll } from "../support/report.js"
import { median } from "../support/stats.js"

interface Esbuild {
  readonly build: (
    options: object
  ) => Promise<{ readonly outputFiles: ReadonlyArray<{ readonly contents: Uint8Array }> }>
}

const root = new URL("../../", import.meta.url)
const built = new URL("dist/effect4/needs-effect-4/Dlock.js", root)
const recipe = new URL("scripts/build.mjs", root)

/** The newest of the folder's files. */
const changedAt = (folder: URL): number =>
  Math.max(
    ...fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
      .map((file) => fs.statSync(new URL(file, folder)).mtimeMs)
  )

const build = () => {
  const changed = Math.max(changedAt(new URL("src/", root)), fs.statSync(recipe).mtimeMs)
  if (fs.existsSync(built) && fs.statSync(built).mtimeMs > changed) return
  console.log("  npm run build")
  execFileSync("npm", ["run", "build"], { cwd: root, stdio: ["ignore", "ignore", "inherit"] })
}

interface Program {
  readonly name: string
  /** Where names are looked up. */
  readonly cwd: string
  readonly module: string
  readonly others: ReadonlyArray<string>
}

/** Milliseconds that the module adds to a program that has imported the others. */
const addedBy = ({ cwd, module, others }: Program): number => {
  const program = `${others.map((other) => `import ${JSON.stringify(other)}`).join("\n")}
    const startedAt = performance.now()
    await import(${JSON.stringify(module)})
    console.log(performance.now() - startedAt)`
  return Number(execFileSync(process.execPath, ["--input-type=module", "--eval", program], { cwd }))
}

/** KB, minified and gzipped, of what a program takes from the module, beside its peers. */
const sizeOf = async (names: string): Promise<number> => {
  const { build } = await loadPeer<Esbuild>("esbuild")
  const { outputFiles: [file] } = await build({
    stdin: {
      contents: `export ${names} from ${JSON.stringify(fileURLToPath(built))}`,
      resolveDir: fileURLToPath(root)
    },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "node",
    external: ["effect", "effect/*", "@effect/*", "ioredis", "ioredis/*"]
  })
  return gzipSync(file!.contents).length / 1024
}

const cwd = fileURLToPath(root)
const peers = folderOf("peers")
const programs: ReadonlyArray<Program> = [
  {
    name: "**effect-dlock/Dlock**, beside `effect` and `ioredis`",
    cwd,
    module: built.href,
    others: ["effect", "ioredis"]
  },
  {
    name: "**effect-dlock/Dlock**, beside `effect/Effect` and `ioredis`",
    cwd,
    module: built.href,
    others: ["effect/Effect", "ioredis"]
  },
  {
    name: "effect-distributed-lock, beside `effect` and `ioredis`",
    cwd: peers,
    module: "effect-distributed-lock",
    others: ["effect", "ioredis"]
  },
  { name: "redis-semaphore, beside `ioredis`", cwd: peers, module: "redis-semaphore", others: ["ioredis"] },
  { name: "redlock 5, beside `ioredis`", cwd: peers, module: "@sesamecare-oss/redlock", others: ["ioredis"] },
  { name: "redlock-universal, beside `ioredis`", cwd: peers, module: "redlock-universal", others: ["ioredis"] },
  { name: "dlock 12, beside `ioredis` 4", cwd: folderOf("dlock12"), module: "dlock", others: ["ioredis"] }
]

export const importCost = async (quick: boolean): Promise<Section> => {
  build()
  const times = programs.map((): Array<number> => [])
  for (let round = 0; round < (quick ? 3 : 9); round++) {
    for (const [index, program] of programs.entries()) times[index]!.push(addedBy(program))
  }
  const [lock, all] = [await sizeOf("{ withLock, layerRedis }"), await sizeOf("*")]
  return {
    title: "What an import costs",
    header: ["", "ms it adds", "KB minified and gzipped: `withLock` and `layerRedis`", "KB: all of `Dlock`"],
    rows: programs.map(({ name }, index) => [
      name,
      formatAll(times[index]!),
      index === 0 ? format(lock) : "–",
      index === 0 ? format(all) : "–"
    ]),
    verdicts: [
      { what: "ms it adds", measured: formatAll(times[0]!), target: "<= 25", isMet: median(times[0]!) <= 25 },
      { what: "KB of a tree-shaken core", measured: format(lock), target: "<= 15", isMet: lock <= 15 }
    ],
    notes: "Fresh processes in turns, the built package. Bundled by esbuild, without effect and ioredis. " +
      "Why the core is more than 15 KB: docs/performance.md."
  }
}
