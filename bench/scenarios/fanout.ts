/** One job for many callers in four processes: what they wait beyond the job, and what that costs. */
import type { Sample, Scenario } from "../scenario.js"
import type { Group } from "../support/group.js"
import type { Run } from "../support/work.js"
import { processes } from "./contended.js"

let flights = 0

export interface FanoutOptions {
  readonly ids: number
  readonly callers: number
  readonly payloadBytes: number
  /** Long enough for everybody to ask before it ends. */
  readonly jobMillis?: number | undefined
}

/**
 * Two at once are wrong in any case. One after another is, too, unless a process asked after the end of the job: it is
 * long, so that happens on a machine that stalls only.
 */
const wrongRuns = (runs: ReadonlyArray<Run>): ReadonlyArray<string> => {
  let atOnce = 0
  let again = 0
  const endOf = new Map<string, number>()
  for (const { endedAt, id, startedAt } of [...runs].sort((a, b) => a.startedAt - b.startedAt)) {
    const end = endOf.get(id)
    if (end !== undefined && startedAt < end) atOnce++
    else if (end !== undefined) again++
    endOf.set(id, Math.max(end ?? 0, endedAt))
  }
  return [
    ...atOnce === 0 ? [] : [`${atOnce} jobs ran beside another of their id`],
    ...again === 0 ? [] : [`${again} jobs ran again after their end`]
  ]
}

/** The job must run once for each id, and everybody must get its outcome. */
export const fly = async (
  group: Group,
  { callers, ids, jobMillis = 200, payloadBytes }: FanoutOptions
): Promise<Sample> => {
  const work = {
    kind: "fanout",
    ids: Array.from({ length: ids }, () => `flight:${flights++}`),
    callers,
    jobMillis,
    payloadBytes
  } as const
  const outcome = await group.run(processes, work)
  // Sent now and then by those who wait, so their number says how long, not how many.
  const pings = outcome.sent.get("ping") ?? 0
  const asked = ids * callers * processes
  return {
    figures: {
      over: outcome.seconds * 1000 - jobMillis,
      commands: (outcome.commands - pings) / ids,
      pings,
      copies: outcome.bytesOut / (ids * payloadBytes),
      redisMicros: outcome.redisMicros / ids,
      cpuMicros: outcome.cpuMicros / asked
    },
    wrong: [
      ...wrongRuns(outcome.processes.flatMap(({ runs }) => runs)),
      ...outcome.landed === asked ? [] : [`${asked - outcome.landed} callers got something else`]
    ]
  }
}

/** Those of the same processes are warm for all scenarios of this kind. */
const warm = new WeakSet<Group>()

export const fanout = (options: FanoutOptions, quick: boolean): Scenario => ({
  title: `Fanout in 4 processes, ${options.ids === 1 ? "one id" : `${options.ids} ids at once`}, ${
    options.callers.toLocaleString("en-US")
  } callers each`,
  contenders: quick
    ? ["ours", "luaQueue", "dlock12"]
    : ["ours", "protocol", "protocolFibers", "luaQueue", "luaQueueFibers", "dlock12"],
  rounds: quick ? 2 : 9,
  warmups: quick ? 0 : 1,
  warmUp: async (group) => {
    if (warm.has(group)) return
    warm.add(group)
    for (let round = 0; round < (quick ? 1 : 10); round++) {
      await fly(group, { ids: 300, callers: 2, payloadBytes: 1_000, jobMillis: 500 })
    }
  },
  play: (group) => fly(group, options),
  columns: [
    { figure: "over", title: "ms over the job" },
    { figure: "over", title: "of the floor", of: "luaQueue" },
    { figure: "commands", title: "commands an id" },
    { figure: "pings", title: "PINGs beside, in all" },
    { figure: "copies", title: "bytes out / payload" },
    { figure: "redisMicros", title: "µs of Redis an id" },
    { figure: "cpuMicros", title: "µs of processor a caller" }
  ],
  targets: [
    { figure: "over", of: "luaQueue", what: "of the floor's time over the job", atMost: 1.5 },
    { figure: "commands", what: "commands an id, without PINGs", atMost: 5 },
    { figure: "copies", what: "times the payload went out", atMost: 3.3 }
  ],
  notes: `A job of ${options.jobMillis ?? 200} ms, ${
    options.payloadBytes.toLocaleString("en-US")
  } bytes. Nobody else has a fanout.`
})
