/**
 * `npm run mutations [-- --only <pattern>] [--seeds 150]`: makes each mistake of mutations.ts in a copy of the project, and
 * says what finds it: a seed of the simulation, or else a test. Fails when one is not found.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { text as textOf } from "node:stream/consumers"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { Mutation } from "./mutations.js"
import { mutations } from "./mutations.js"

const { values } = parseArgs({
  options: { only: { type: "string", default: "" }, seeds: { type: "string", default: "150" } }
})

const only = new RegExp(values.only)
const seeds = Number(values.seeds)

const root = fileURLToPath(new URL("../../", import.meta.url))
const copy = fs.mkdtempSync(path.join(os.tmpdir(), "mutations-"))
const result = path.join(copy, "result.json")

/** A mistake may be an endless loop, or leave a test waiting for ever. */
const timeoutMillis = 240_000
const testTimeoutMillis = 45_000

const prepare = (): void => {
  for (const name of ["src", "test", "package.json", "tsconfig.json", "vitest.config.ts"]) {
    fs.cpSync(path.join(root, name), path.join(copy, name), { recursive: true })
  }
  fs.symlinkSync(fs.realpathSync(path.join(root, "node_modules")), path.join(copy, "node_modules"))
}

/** In a process group of its own: a run that does not end is killed with all that it has started. */
const run = async (...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, args, { cwd: copy, detached: true, stdio: ["ignore", "pipe", "ignore"] })
  const kill = () => {
    try {
      process.kill(-child.pid!, "SIGKILL")
    } catch {
      // It has ended.
    }
  }
  process.once("exit", kill)
  const timer = setTimeout(kill, timeoutMillis)
  const [[status], stdout] = await Promise.all([once(child, "exit"), textOf(child.stdout)])
  clearTimeout(timer)
  kill()
  process.off("exit", kill)
  return { status, stdout }
}

/** What the simulation has against it, if anything. */
const bySimulation = async (seeds: number): Promise<string | undefined> => {
  const args = ["--seeds", String(seeds), "--bail"]
  const { status, stdout } = await run("--import", "tsx", "test/simulation/main.ts", ...args)
  if (status === 0) return undefined
  return /^seed .*$/m.exec(stdout)?.[0].slice(0, 70) ?? "simulation: does not end"
}

interface Failure {
  readonly file: string
  /** Absent when the file does not even run, or does not end. */
  readonly title?: string
}

/** What fails, if anything does. It stops at the first failure, and what runs beside that may fail by being stopped. */
const failing = async (...args: ReadonlyArray<string>): Promise<ReadonlyArray<Failure>> => {
  fs.rmSync(result, { force: true })
  const reporter = ["--reporter=json", `--outputFile=${result}`, `--testTimeout=${testTimeoutMillis}`]
  const { status } = await run("node_modules/vitest/vitest.mjs", "run", ...args, "--bail", "1", ...reporter)
  if (status === 0) return []
  if (!fs.existsSync(result)) return [{ file: "tests that do not end" }]
  const { testResults } = JSON.parse(fs.readFileSync(result, "utf8")) as {
    testResults: ReadonlyArray<{
      name: string
      message: string
      assertionResults: ReadonlyArray<{ status: string; fullName: string }>
    }>
  }
  return testResults.flatMap(({ assertionResults, message, name }): ReadonlyArray<Failure> => {
    const file = path.relative(copy, name)
    if (message !== "") return [{ file }]
    return assertionResults.flatMap(({ fullName, status }) => status === "failed" ? [{ file, title: fullName }] : [])
  })
}

/** Each once more, by itself: a test may fail by itself on a busy machine. */
const bySuites = async (suites: ReadonlyArray<string>): Promise<string | undefined> => {
  for (const { file, title } of await failing(...suites)) {
    if (title === undefined) return file
    const again = await failing(file, "-t", title.replace(/[^\w\s]/g, "."))
    if (again.length > 0) return `${file}: ${title}`
  }
  return undefined
}

/** The simulation runs the engine, singletons, flights, and both stores with their Lua. */
const isSimulated = ({ file }: Mutation): boolean =>
  !/internal\/(dlock|locks?|json|tokens|http|callSite|graft|operation|reentrancy)\b/.test(file)

const ofScripts = ["scripts", "refusals", "copies", "traces", "shortcuts", "serverClock", "subscribing"].map((name) =>
  `test/store/${name}`
)

/** Those that are quick and close to it come first. */
const suitesOf = ({ file }: Mutation): ReadonlyArray<ReadonlyArray<string>> =>
  /http/.test(file)
    ? [["test/http"]]
    : /light|callers|fanout|json/.test(file)
    ? [["test/engine/flights"], ["test/store/flights", "test/fanout"], ["test/faults/fanout"]]
    : /redis|serverClock/.test(file)
    ? [ofScripts, ["test/store"], ["test/dlock"], ["test/faults"]]
    : /memory/.test(file)
    ? [["test/store/memory.test.ts"], ["test/store/model.test.ts"], ["test/dlock"]]
    : /callSite|graft|operation|reentrancy|lock\.ts/.test(file)
    ? [["test/dlock", "test/fanout"], ["test/faults"]]
    : [["test/engine"], ["test/dlock"], ["test/faults"]]

const finds = async (mutation: Mutation): Promise<string | undefined> => {
  const file = path.join(copy, mutation.file)
  const text = fs.readFileSync(file, "utf8")
  const parts = text.split(mutation.find)
  if (parts.length !== 2) {
    throw new Error(`"${mutation.name}" is in ${mutation.file} ${parts.length - 1} times, not once`)
  }
  fs.writeFileSync(file, parts.join(mutation.replace))
  try {
    // Most are found by the first seeds. If not, a suite that is close to it is quicker than many more.
    let found = isSimulated(mutation) ? await bySimulation(Math.min(20, seeds)) : undefined
    for (const suites of suitesOf(mutation)) found ??= await bySuites(suites)
    return found ?? (isSimulated(mutation) ? await bySimulation(seeds) : undefined)
  } finally {
    fs.writeFileSync(file, text)
  }
}

prepare()
let tried = 0
let survivors = 0
try {
  // A test that fails anyway finds nothing.
  const broken = await bySimulation(seeds) ?? await bySuites(["test/store", "test/engine", "test/dlock"])
  if (broken !== undefined) throw new Error(`Without any mutation: ${broken}`)
  console.log("| mistake | file | rule | found by | |\n| --- | --- | --- | --- | --- |")
  for (const mutation of mutations) {
    if (!only.test(`${mutation.rule} ${mutation.name} ${mutation.file}`)) continue
    tried++
    const startedAt = performance.now()
    const found = await finds(mutation)
    if (found === undefined) survivors++
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
    const where = path.basename(mutation.file)
    console.log(`| ${mutation.name} | ${where} | ${mutation.rule} | ${found ?? "NOT FOUND"} | ${seconds} s |`)
  }
} finally {
  fs.rmSync(copy, { recursive: true, force: true })
}
console.log(`\n${tried} mistakes, ${survivors} not found`)
process.exitCode = survivors > 0 ? 1 : 0
