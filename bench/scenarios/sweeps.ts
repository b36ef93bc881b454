/** How costs grow with waiters, callers, payload and held leases. */
import type { ContenderId } from "../contenders/index.js"
import type { Sample, Sweep } from "../scenario.js"
import { median } from "../support/stats.js"
import { contend } from "./contended.js"
import { fly } from "./fanout.js"
import { hold } from "./held.js"

const queues: ReadonlyArray<ContenderId> = ["ours", "tokenList", "luaQueue"]
const flyers: ReadonlyArray<ContenderId> = ["ours", "luaQueue", "dlock12"]
const waitersMost = 512

/** Medians of some tries. A wrong one is no point. */
const middles = async (times: number, play: () => Promise<Sample>): Promise<Sample["figures"]> => {
  const samples: Array<Sample["figures"]> = []
  for (let i = 0; i < times; i++) {
    const { figures, wrong } = await play()
    if (wrong[0] !== undefined) throw new Error(wrong[0])
    samples.push(figures)
  }
  return Object.fromEntries(
    Object.keys(samples[0]!).map((figure) => [figure, median(samples.map((figures) => figures[figure]!))])
  )
}

const waiters = (quick: boolean): Sweep => ({
  xTitle: "waiters, in 4 processes",
  charts: [
    {
      name: "waiters",
      figure: "idle",
      title: "Each waiter holds the lock for 1 ms once: idle from one to the next",
      yTitle: "ms"
    },
    { name: "commands", figure: "commands", title: "The same: commands an acquisition", yTitle: "commands" }
  ],
  contenders: quick ? queues : [...queues, "redisSemaphore", "redlock", "effectDistributedLock"],
  points: quick ? [8, 64, 512] : [8, 32, 128, 512, 2_000],
  play: (group, point) =>
    middles(quick ? 1 : 2, () => {
      // A polling peer would keep the server busy until the timeout.
      if (point > waitersMost && !queues.includes(group.id)) throw new Error("not tried")
      return contend(group, { waiters: point, holdMillis: 1, millis: 0 })
    })
})

const flights = (quick: boolean): ReadonlyArray<Sweep> => [
  {
    xTitle: "callers, in 4 processes",
    charts: [{ name: "callers", figure: "over", title: "Fanout of one id: time over the job", yTitle: "ms" }],
    contenders: flyers,
    points: quick ? [4, 4_000] : [4, 40, 400, 4_000, 20_000],
    play: (group, point) => {
      // Thousands of callers take their time to ask.
      const jobMillis = 400 + point / 10
      return middles(quick ? 1 : 3, () => fly(group, { ids: 1, callers: point / 4, payloadBytes: 1_000, jobMillis }))
    }
  },
  {
    xTitle: "bytes of the result",
    charts: [{
      name: "payload",
      figure: "over",
      title: "Fanout of one id, 10 callers in each of 4 processes: time over the job",
      yTitle: "ms"
    }],
    contenders: flyers,
    points: quick ? [1_000, 500_000] : [100, 1_000, 10_000, 100_000, 500_000],
    play: (group, point) => middles(quick ? 1 : 3, () => fly(group, { ids: 1, callers: 10, payloadBytes: point }))
  }
]

const leases: Sweep = {
  xTitle: "leases",
  charts: [{
    name: "held",
    figure: "commands",
    title: "Held leases with a ttl of 6 s: commands a second",
    yTitle: "commands a second"
  }],
  contenders: ["ours", "luaQueue", "redisSemaphore"],
  points: [100, 1_000, 10_000],
  play: async (group, point) => ({ commands: (await hold(group, point, 4_000)).commandsPerSecond })
}

/** The quick ones leave out what the tables say already. */
export const sweeps = (quick: boolean): ReadonlyArray<Sweep> => [
  waiters(quick),
  ...flights(quick),
  ...quick ? [] : [leases]
]
