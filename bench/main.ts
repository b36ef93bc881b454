/**
 * `npm run bench`: what the library costs beside its peers, on Redis servers of its own. Writes RESULTS.md and charts.
 *
 *   npm run bench -- [--quick] [--only free,atOnce,…] [--out FOLDER]
 *
 * A quick look takes a minute. What a build or many points are needed for is not part of it unless it is named.
 */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import { ensureRedisServer } from "../test/support/redisServer.js"
import { contenders } from "./contenders/index.js"
import type { Chart, Scenario } from "./scenario.js"
import { cycling, handoff, semaphore, zeroHold } from "./scenarios/contended.js"
import { fanout } from "./scenarios/fanout.js"
import { atOnce, oneAfterTheOther, several } from "./scenarios/free.js"
import { held } from "./scenarios/held.js"
import { importCost } from "./scenarios/importCost.js"
import { sweeps } from "./scenarios/sweeps.js"
import { bundleWorkers } from "./support/bundle.js"
import { drawCharts } from "./support/charts.js"
import type { SweepResult } from "./support/play.js"
import { play, playSweep, stopGroups } from "./support/play.js"
import type { Section } from "./support/report.js"
import { format, markdownSection, markdownTable, markdownVerdicts, sectionOf } from "./support/report.js"

const parts: Record<string, (quick: boolean) => ReadonlyArray<Scenario>> = {
  free: (quick) => [oneAfterTheOther(quick)],
  atOnce: (quick) => [atOnce(64, quick), ...quick ? [] : [atOnce(256, quick)]],
  contended: (quick) => [handoff(quick), cycling(32, quick), ...quick ? [] : [cycling(2_000, quick)]],
  zeroHold: (quick) => [zeroHold(quick)],
  several: (quick) => [several(quick)],
  semaphore: (quick) => [semaphore(quick)],
  fanout: (quick) => [
    fanout({ ids: 1, callers: 10, payloadBytes: 10_000 }, quick),
    fanout({ ids: 1, callers: 1_000, payloadBytes: 10_000, jobMillis: 500 }, quick),
    fanout({ ids: 500, callers: 1, payloadBytes: 1_000, jobMillis: 600 }, quick)
  ],
  held: (quick) => [held(quick)]
}
const measured = Object.keys(parts)
const names = [...measured, "import", "charts"]

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    out: { type: "string", default: path.relative(process.cwd(), import.meta.dirname) || "." }
  }
})
const chosen = options.only?.split(",") ?? (options.quick ? measured : names)
const unknown = chosen.filter((name) => !names.includes(name))
if (unknown.length > 0) {
  console.error(`No part ${unknown.join(", ")}. There are: ${names.join(", ")}`)
  process.exit(1)
}

const startedAt = performance.now()
const say = (text: string) => console.log(`[${Math.round((performance.now() - startedAt) / 1000)} s] ${text}`)

const chartSection = (result: SweepResult, { figure, name, title, yTitle }: Chart): string => {
  const { lines, sweep: { points, xTitle } } = result
  const cellOf = (line: SweepResult["lines"][number], index: number): string => {
    const figures = line.points[index]?.figures
    if (figures !== undefined) return format(figures[figure]!)
    return index === line.points.length ? line.stopped ?? "–" : "–"
  }
  return [
    `### ${title}`,
    `![${title}](charts/${name}.svg)`,
    markdownTable(
      [`${yTitle} by ${xTitle}`, ...points.map((point) => point.toLocaleString("en-US"))],
      lines.map((line) => [line.name, ...points.map((_, index) => cellOf(line, index))])
    )
  ].join("\n\n")
}

const sweepSections = (result: SweepResult): ReadonlyArray<string> =>
  result.sweep.charts.map((chart) => chartSection(result, chart))

const contenderList = async (): Promise<string> => {
  const all = await Promise.all(Object.values(contenders).map((load) => load()))
  return all.map(({ name, options }) => `- ${name}: ${options}`).join("\n")
}

const howToRead = [
  "A figure is the median of its rounds (lowest–highest). Contenders take turns in every round, each with a Redis server",
  "and processes of its own that have warmed up before. Every round checks who ran how often and whether holds overlapped:",
  "✗ says what was wrong, and then the figures beside it are worth nothing. Commands are those that clients send, counted",
  "in the clients; µs of Redis are what the server says that those took. Processor time is the figure to read when the",
  "machine was busy."
].join("\n")

const machine = `${os.cpus().length} x ${os.cpus()[0]?.model}, Node ${process.version}, ${os.platform()} ${os.arch()}`
const load = () => os.loadavg().map((value) => value.toFixed(1)).join(", ")
const redis = ensureRedisServer()
const loadBefore = load()
say(machine)

const folder = pathToFileURL(`${path.resolve(options.out)}/`)
const sections: Array<Section> = []
const results: Array<SweepResult> = []

/** All there is so far: a run that is cut short has not been in vain. */
const write = async (isDone: boolean) => {
  fs.mkdirSync(folder, { recursive: true })
  await drawCharts(new URL("charts/", folder), results)
  const text = [
    "# What it costs",
    `\`npm run bench${options.quick ? " -- --quick" : ""}\` wrote this ${isDone ? "in" : "before its end, after"} ${
      Math.round((performance.now() - startedAt) / 1000)
    } s. ${machine}, ${path.basename(redis)} on the same machine. Load average before ${loadBefore}, after ${load()}.`,
    howToRead,
    "## Targets",
    markdownVerdicts(sections),
    ...sections.map(markdownSection),
    ...results.length === 0 ? [] : ["## How it grows", ...results.flatMap(sweepSections)],
    "## Who takes part",
    await contenderList()
  ].join("\n\n")
  fs.writeFileSync(new URL("RESULTS.md", folder), `${text}\n`)
}

const run = async () => {
  await bundleWorkers()
  for (const scenario of chosen.flatMap((name) => parts[name]?.(options.quick) ?? [])) {
    say(scenario.title)
    sections.push(sectionOf(await play(scenario)))
    await write(false)
  }
  if (chosen.includes("import")) {
    say("What an import costs")
    sections.push(await importCost(options.quick))
    await write(false)
  }
  for (const sweep of chosen.includes("charts") ? sweeps(options.quick) : []) {
    say(`charts: ${sweep.charts.map(({ title }) => title).join("; ")}`)
    results.push(await playSweep(sweep))
    await write(false)
  }
  await write(true)
  console.log(`\n${markdownVerdicts(sections)}\n`)
  say(`wrote ${path.join(options.out, "RESULTS.md")}`)
}

try {
  await run()
} finally {
  await stopGroups()
}
