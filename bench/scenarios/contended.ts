/** One lock, or a few permits, and many in four processes who want them: how fast, how fairly, and at what cost. */
import type { ContenderId } from "../contenders/index.js"
import type { Scenario } from "../scenario.js"
import { playing } from "../scenario.js"
import type { Group } from "../support/group.js"
import { ofContention } from "../support/samples.js"
import type { ContendWork } from "../support/work.js"

export const processes = 4
const peers = ["redisSemaphore", "redlock", "redlockUniversal", "effectDistributedLock", "dlock12"] as const
const floors = ["protocol", "protocolFibers", "tokenList", "luaQueue", "luaQueueFibers"] as const
const queues: ReadonlyArray<ContenderId> = ["ours", ...floors, ...peers]

let keys = 0

/** Each round on a key of its own, so that none finds what another left. */
export const contend = async (
  group: Group,
  { waiters, ...options }: Pick<ContendWork, "waiters" | "holdMillis" | "millis"> & Partial<ContendWork>
) => {
  const work: ContendWork = {
    kind: "contend",
    key: `contended:${keys++}`,
    permits: 1,
    waiters: waiters / processes,
    ...options
  }
  return ofContention(await group.run(processes, work, work.millis + 20_000), work)
}

export const handoff = (quick: boolean): Scenario => ({
  title: "32 waiters in 4 processes, each holds for 1 ms once: how long the lock is idle from one to the next",
  contenders: playing(quick, queues),
  rounds: quick ? 3 : 25,
  warmups: quick ? 1 : 2,
  warmUp: (group) => contend(group, { waiters: 32, holdMillis: 0, millis: quick ? 1_000 : 12_000 }),
  play: (group) => contend(group, { waiters: 32, holdMillis: 1, millis: 0 }),
  columns: [
    { figure: "idle", title: "ms idle a handover" },
    { figure: "idle", title: "of the Lua floor", of: "luaQueue" },
    { figure: "waitMax", title: "longest wait, ms" },
    { figure: "commands", title: "commands each" }
  ],
  targets: [
    { figure: "idle", what: "ms idle a handover", atMost: 0.35 },
    { figure: "idle", of: "luaQueue", what: "of the Lua floor", atMost: 1.3 },
    { figure: "idle", of: "tokenList", what: "of the token list", atMost: 1.3 }
  ]
})

export const cycling = (waiters: number, quick: boolean): Scenario => ({
  title: `${waiters.toLocaleString("en-US")} waiters in 4 processes, again and again, each holds for 1 ms`,
  contenders: waiters > 32 ? ["ours", "tokenList", "luaQueue"] : playing(quick, queues),
  rounds: waiters > 32 ? quick ? 1 : 2 : quick ? 2 : 4,
  warmups: quick || waiters > 32 ? 0 : 1,
  play: (group) => contend(group, { waiters, holdMillis: 1, millis: quick ? 400 : waiters > 32 ? 4_000 : 1_500 }),
  columns: [
    { figure: "waitP50", title: "wait p50, ms" },
    { figure: "waitP99", title: "wait p99, ms" },
    { figure: "waitMax", title: "max, ms" },
    { figure: "fairness", title: "Jain index" },
    { figure: "commands", title: "commands an acquisition" },
    { figure: "redisMicros", title: "µs of Redis each" },
    { figure: "handovers", title: "handovers to another, a second" }
  ],
  targets: [
    ...waiters > 32
      ? []
      : [{ figure: "waitP99", what: "ms, wait p99", atMost: 60 }],
    { figure: "fairness", what: "Jain index", atLeast: 0.99 },
    { figure: "commands", what: "commands an acquisition", atMost: 2.1 }
  ],
  notes: "The Jain index is a share of the most that whole turns allow."
    + (waiters > 32 ? " Polling peers are left out: their commands alone would fill the server." : "")
})

export const zeroHold = (quick: boolean): Scenario => ({
  title: "The same with 32 waiters and a hold of 0 ms: handovers to another waiter",
  contenders: playing(quick, queues),
  rounds: quick ? 2 : 4,
  warmups: quick ? 0 : 1,
  play: (group) => contend(group, { waiters: 32, holdMillis: 0, millis: quick ? 300 : 1_200 }),
  columns: [
    { figure: "handovers", title: "handovers to another, a second" },
    { figure: "others", title: "share of all turns" },
    { figure: "speed", title: "turns a second" },
    { figure: "fairness", title: "Jain index" },
    { figure: "commands", title: "commands a turn" },
    { figure: "redisMicros", title: "µs of Redis each" }
  ],
  targets: [{ figure: "handovers", what: "handovers a second", atLeast: 10_000 }],
  notes: "Taking the lock again at once, past those who wait, is a turn but not a handover."
})

export const semaphore = (quick: boolean): Scenario => ({
  title: "A semaphore of 4, 32 contenders in 4 processes, each holds for 1 ms",
  contenders: playing(quick, ["ours", ...floors, "redisSemaphore", "effectDistributedLock"]),
  rounds: quick ? 2 : 4,
  warmups: quick ? 0 : 1,
  play: (group) =>
    contend(group, { kind: "semaphore", permits: 4, waiters: 32, holdMillis: 1, millis: quick ? 400 : 1_500 }),
  columns: [
    { figure: "speed", title: "a second" },
    { figure: "speed", title: "of the Lua floor", of: "luaQueue" },
    { figure: "waitP99", title: "wait p99, ms" },
    { figure: "waitMax", title: "wait max, ms" },
    { figure: "fairness", title: "Jain index" },
    { figure: "commands", title: "commands an acquisition" },
    { figure: "redisMicros", title: "µs of Redis each" }
  ],
  targets: [
    { figure: "speed", of: "luaQueue", what: "of the Lua floor (2,950 of 3,050)", atLeast: 0.967 },
    { figure: "waitMax", what: "ms, longest wait", atMost: 30 },
    { figure: "commands", what: "commands an acquisition", atMost: 2.1 }
  ],
  notes: "The others have no semaphore; what dlock 12 calls one is a lock."
})
