/** Locks that one process holds and renews: what they cost it and Redis. */
import type { ContenderId } from "../contenders/index.js"
import type { Scenario } from "../scenario.js"
import type { Group } from "../support/group.js"

const ttlMillis = 6_000
const locks = 10_000

/** How often each renews, as a share of the ttl: the count is exact over whole periods. */
const periodOf = (id: ContenderId): number =>
  ttlMillis * (id === "redisSemaphore" || id === "redlockUniversal" ? 0.8 : id === "redlock" ? 5.5 / 6 : 1 / 3)

/** Counts for at least that long, in whole periods. */
export const hold = (group: Group, count: number, atLeastMillis: number) => {
  const period = periodOf(group.id)
  const keys = Array.from({ length: count }, (_, i) => `held:${i}`)
  return group.hold({ kind: "hold", keys, ttlMillis }, Math.ceil(atLeastMillis / period) * period)
}

const holders = (quick: boolean): ReadonlyArray<ContenderId> =>
  quick
    ? ["ours"]
    : ["ours", "protocol", "luaQueue", "redisSemaphore", "redlock", "redlockUniversal", "effectDistributedLock"]

export const held = (quick: boolean): Scenario => ({
  title: "10,000 held leases, renewed",
  contenders: holders(quick),
  rounds: quick ? 1 : 2,
  warmups: 0,
  play: async (group) => {
    const kept = await hold(group, locks, quick ? 2_000 : 6_000)
    const { commandsPerSecond, delayP99, heapBytes, keys, rssBytes } = kept
    return {
      figures: { rss: rssBytes / 1024, heap: heapBytes / 1024, commands: commandsPerSecond, delayP99 },
      wrong: keys >= locks ? [] : [`the server knows ${keys} of ${locks} locks`]
    }
  },
  columns: [
    { figure: "rss", title: "KB of RSS each" },
    { figure: "heap", title: "KB of heap each" },
    { figure: "commands", title: "commands a second" },
    { figure: "delayP99", title: "event loop late p99, ms" }
  ],
  targets: [
    { figure: "rss", what: "KB of RSS each", atMost: 2.2 },
    { figure: "commands", what: "commands a second", atMost: 15 },
    { figure: "delayP99", what: "ms, event loop late p99", atMost: 2 }
  ],
  notes: `A ttl of ${ttlMillis / 1000} s. dlock 12 does not renew.`
})
