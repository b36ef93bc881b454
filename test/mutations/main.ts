/**
 * `npm run mutations [-- --only <pattern>] [--seeds 150]`: makes each mistake of mutations.ts in a copy of the project, and
 * says what finds it: a seed of the simulation, or else a test. Fails when one is not found.
 */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { Mutation } from "./mutations.js"
import { mutations } from "./mutations.js"

const { values } = parseArgs({
  options: { only: { type: "string", default: "" }, seeds: { type: "string", default: "150" } }
})

const only = new RegExp(values.only)

const root = fileURLToPath(new URL("../../", import.meta.url))
const copy = fs.mkdtempSync(path.join(os.tmpdir(), "mutations-"))
const result = path.join(copy, "result.json")

/** A mistake may be an endless loop. */
const timeoutMillis = 120_000

const prepare = (): void => {
  for (const name of ["src", "test", "package.json", "tsconfig.json", "vitest.config.ts"]) {
    fs.cpSync(path.join(root, name), path.join(copy, name), { recursive: true })
  }
  fs.symlinkSync(fs.realpathSync(path.join(root, "node_modules")), path.join(copy, "node_modules"))
}

const run = (...args: ReadonlyArray<string>) =>
  spawnSync(process.execPath, args, { cwd: copy, encoding: "utf8", timeout: timeoutMillis, killSignal: "SIGKILL" })

/** What the simulation has against it, if anything. */
const bySimulation = (): string | undefined => {
  const { status, stdout } = run("--import", "tsx", "test/simulation/main.ts", "--seeds", values.seeds, "--bail")
  if (status === 0) return undefined
  return /^seed .*$/m.exec(stdout)?.[0].slice(0, 70) ?? "simulation: does not end"
}

/** The first test that fails, if one does. */
const failing = (...args: ReadonlyArray<string>): string | undefined => {
  fs.rmSync(result, { force: true })
  const reporter = ["--reporter=json", `--outputFile=${result}`]
  const { status } = run("node_modules/vitest/vitest.mjs", "run", ...args, "--bail", "1", ...reporter)
  if (status === 0) return undefined
  if (!fs.existsSync(result)) return "tests: do not end"
  const { testResults } = JSON.parse(fs.readFileSync(result, "utf8")) as {
    testResults: ReadonlyArray<{ name: string; assertionResults: ReadonlyArray<{ status: string; title: string }> }>
  }
  for (const { assertionResults, name } of testResults) {
    const failed = assertionResults.find((one) => one.status === "failed")
    if (failed) return `${path.relative(copy, name)}: ${failed.title}`
  }
  return "tests: do not run"
}

/** Twice: a test may fail by itself on a busy machine. */
const bySuites = (suites: ReadonlyArray<string>): string | undefined => {
  const first = failing(...suites)
  return first === undefined || !first.startsWith("test/")
    ? first
    : failing(first.slice(0, first.indexOf(":"))) && first
}

/** The simulation runs the engine and the memory store, and the bookkeeping of the Redis store. No Lua. */
const isSimulated = ({ file }: Mutation): boolean =>
  !/redis\/(?!unanswered)|internal\/(dlock|locks|fanout)|light|callers/.test(file)

const suitesOf = ({ file }: Mutation): ReadonlyArray<ReadonlyArray<string>> =>
  /light|callers|fanout/.test(file)
    ? [["test/engine/flights.test.ts", "test/store/flights", "test/fanout"], ["test/faults/fanout.test.ts"]]
    : /redis|serverClock/.test(file)
    ? [["test/store"], ["test/dlock", "test/faults"]]
    : /memory/.test(file)
    ? [["test/store/memory.test.ts", "test/store/model.test.ts"], ["test/dlock"]]
    : [["test/engine", "test/dlock"], ["test/faults"]]

const finds = (mutation: Mutation): string | undefined => {
  const file = path.join(copy, mutation.file)
  const text = fs.readFileSync(file, "utf8")
  const parts = text.split(mutation.find)
  if (parts.length !== 2) {
    throw new Error(`"${mutation.name}" is in ${mutation.file} ${parts.length - 1} times, not once`)
  }
  fs.writeFileSync(file, parts.join(mutation.replace))
  try {
    let found = isSimulated(mutation) ? bySimulation() : undefined
    for (const suites of suitesOf(mutation)) found ??= bySuites(suites)
    return found
  } finally {
    fs.writeFileSync(file, text)
  }
}

prepare()
let survivors = 0
try {
  // A test that fails anyway finds nothing.
  const broken = bySimulation() ?? bySuites(["test/store", "test/engine", "test/dlock"])
  if (broken !== undefined) throw new Error(`Without any mutation: ${broken}`)
  for (const mutation of mutations) {
    if (!only.test(`${mutation.rule} ${mutation.name} ${mutation.file}`)) continue
    const startedAt = performance.now()
    const found = finds(mutation)
    if (found === undefined) survivors++
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
    const where = path.basename(mutation.file)
    console.log(`| ${mutation.name} | ${where} | ${mutation.rule} | ${found ?? "NOT FOUND"} | ${seconds} s |`)
  }
} finally {
  fs.rmSync(copy, { recursive: true, force: true })
}
console.log(`${survivors} not found`)
process.exitCode = survivors > 0 ? 1 : 0
