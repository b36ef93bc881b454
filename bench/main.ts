/**
 * `npm run bench`: what the library costs, on a Redis server of its own.
 *
 *   npm run bench -- [--quick] [--only free,many,multi,contended,semaphore,held] [--json FILE]
 */
import * as fs from "node:fs"
import * as os from "node:os"
import { parseArgs } from "node:util"
import { ensureRedisServer, startRedis } from "../test/support/redisServer.js"
import type { Scenario } from "./scenario.js"
import { contended } from "./scenarios/contended.js"
import { free } from "./scenarios/free.js"
import { held } from "./scenarios/held.js"
import { many } from "./scenarios/many.js"
import { multi } from "./scenarios/multi.js"
import { semaphore } from "./scenarios/semaphore.js"
import type { Figure } from "./support/figure.js"
import { figureTable, isMet } from "./support/figure.js"

const scenarios: Record<string, Scenario> = { free, many, multi, contended, semaphore, held }

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: Object.keys(scenarios).join(",") },
    json: { type: "string" }
  }
})

const chosen = options.only.split(",")
const unknown = chosen.filter((name) => scenarios[name] === undefined)
if (unknown.length > 0) {
  console.error(`No scenario ${unknown.join(", ")}. There are: ${Object.keys(scenarios).join(", ")}`)
  process.exit(1)
}

ensureRedisServer()
const machine = `${os.cpus().length} x ${os.cpus()[0]?.model}, Node ${process.version}, ${os.platform()}`
console.log(`${machine}${options.quick ? ", quick" : ""}. A figure is the median of its rounds (lowest to highest).\n`)

const figures: Array<Figure> = []
for (const name of chosen) {
  // A new server for each, so that no scenario finds what another left.
  const server = await startRedis()
  console.log(`${name} …`)
  try {
    figures.push(...await scenarios[name]!({ url: server.url, quick: options.quick }))
  } finally {
    await server.stop()
  }
}
console.log(`\n${figureTable(figures)}`)

if (options.json !== undefined) {
  const results = figures.map((figure) => ({ ...figure, ok: isMet(figure) }))
  fs.writeFileSync(
    options.json,
    `${JSON.stringify({ machine, quick: options.quick, figures: results }, undefined, 2)}\n`
  )
}
