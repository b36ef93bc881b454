/** Free locks, taken and given back: what the library and what Effect cost beside two commands. */
import type { Scenario, Target } from "../scenario.js"
import { playing } from "../scenario.js"
import { ofCycles } from "../support/samples.js"

const columns: Scenario["columns"] = [
  { figure: "speed", title: "of raw", of: "raw" },
  { figure: "speed", title: "a second" },
  { figure: "micros", title: "µs each" },
  { figure: "cpuMicros", title: "µs of its processor each" },
  { figure: "commands", title: "commands each" },
  { figure: "redisMicros", title: "µs of Redis each" }
]

const keysOf = (count: number) => Array.from({ length: count }, (_, i) => `free:${i}`)

/**
 * Code needs some thousands of operations until it is compiled: those of the first round, which is not measured. What
 * has played one of these scenarios already needs fewer.
 */
const cycles = (count: number, measured: number, warming: number): Scenario["play"] => async (group, round) => {
  const all = round === 0 ? warming : measured
  // It opens a connection for each, and would take longer than all others together.
  const times = Math.ceil(all / count / (group.id === "effectDistributedLock" ? 10 : 1))
  const outcome = await group.run(1, { kind: "cycle", keys: keysOf(count), times })
  return ofCycles(outcome, count * times)
}

const share = (what: string, atLeast: number, by: Target["by"] = "ours"): Target => ({
  figure: "speed",
  of: "raw",
  by,
  what,
  atLeast
})

/** What Effect 4 wins, and what is left to win on it. */
const editions = (ofEffect3: number, byFork: number): ReadonlyArray<Target> => [
  { figure: "speed", of: "oursOnEffect3", by: "ours", what: "of the same on Effect 3", atLeast: ofEffect3 },
  {
    figure: "speed",
    of: "oursByForkOnEffect3",
    by: "oursByFork",
    what: "of the same on Effect 3, with one runFork an operation",
    atLeast: byFork
  },
  { figure: "speed", of: "protocolFibers", by: "ours", what: "of its own scripts in plain fibers", atLeast: 0.9 }
]

/** The library, and what it is made of. */
const made = [
  "raw",
  "ours",
  "oursOnEffect3",
  "oursByPromise",
  "rawEffect",
  "rawEffect3",
  "protocol",
  "protocolFibers"
] as const
const forked = ["oursByFork", "oursByForkOnEffect3"] as const
const peers = ["redisSemaphore", "redlock", "redlockUniversal", "effectDistributedLock", "dlock12"] as const

export const oneAfterTheOther = (quick: boolean): Scenario => ({
  title: "A free lock, acquired and released, one after the other",
  contenders: playing(quick, [...made, ...forked, "tokenList", "luaQueue", ...peers]),
  rounds: quick ? 2 : 11,
  // Fewer are a burst that may stay on one core with the server: three times as fast for two bare commands, or not.
  play: cycles(1, 2_000, quick ? 1_000 : 20_000),
  columns,
  targets: [
    share("of raw, inside one Effect program", 0.9),
    share("of raw, with one runPromise an operation", 0.8, "oursByPromise"),
    { figure: "commands", what: "commands an operation", atMost: 2 },
    ...editions(1.25, 1.25)
  ]
})

export const atOnce = (count: number, quick: boolean): Scenario => ({
  title: `${count} free locks at once, each on a key of its own`,
  contenders: playing(quick, [...made, ...forked, "rawPipelined", "tokenList", "luaQueue", ...peers]),
  rounds: quick ? 2 : 7,
  play: cycles(count, quick ? 2_000 : 6_000, quick ? 2_000 : 30_000),
  columns,
  targets: [share("of raw, inside one Effect program", 1), ...editions(1.6, 1.35)]
})

export const several = (quick: boolean): Scenario => ({
  title: "8 free keys at once, all or none, one after the other",
  contenders: playing(quick, [
    ...made,
    "redlock",
    "redlockUniversal",
    "dlock12"
  ]),
  rounds: quick ? 2 : 9,
  play: async (group, round) => {
    const times = round === 0 ? quick ? 1_000 : 8_000 : quick ? 800 : 2_000
    return ofCycles(await group.run(1, { kind: "multi", keys: keysOf(8), times }), times)
  },
  columns,
  targets: [
    share("of its raw script, inside one Effect program", 0.85),
    { figure: "commands", what: "commands an operation", atMost: 2 }
  ],
  notes: "raw is one script that sets all and one that deletes all. "
    + "redis-semaphore and effect-distributed-lock cannot lock several keys at once."
})
