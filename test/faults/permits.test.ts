/** Permits of a semaphore, while the processes that contend for them are killed and stopped at any moment. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { LockEvent, Turn } from "../support/history.js"
import { checkMutualExclusion, latenessOverFifo, untilDeath } from "../support/history.js"
import type { Worker } from "../support/workers.js"
import { monotonicMicros } from "../support/workers.js"
import type { TurnMessage } from "./contending.js"
import {
  atMost,
  is,
  note,
  nothingUnhandled,
  redis,
  serveLogged,
  slack,
  soakMillis,
  test,
  until,
  untilOnlyFences,
  workerOf
} from "./support.js"

const ttl = 600
const permits = 4
const processes = 4
const key = "k"

/** Long enough for the first commands after a stop: this is not about a Redis that does not answer. */
const options = { key, permits, count: 32 / processes, ttl, commandTimeout: 3 * ttl }

interface Process {
  readonly name: string
  readonly worker: Worker
  /** When it was stopped and when it went on. */
  readonly stops: Array<{ readonly from: number; readonly to: number }>
  isRunning: boolean
  diedAt: number | undefined
}

const start = (url: string, name: string) =>
  Effect.map(
    workerOf("permits", { url, ...options }),
    (worker): Process => ({ name, worker, stops: [], isRunning: true, diedAt: undefined })
  )

const pick = <A>(items: ReadonlyArray<A>): A => items[Math.floor(Math.random() * items.length)]!

/** One random fault after the other until the time is over. Ends when all that it stopped run again. */
const injectFaults = (url: string, all: Array<Process>, millis: number) =>
  Effect.gen(function*() {
    const endsAt = performance.now() + millis
    const kill = (victim: Process) =>
      Effect.gen(function*() {
        victim.isRunning = false
        victim.diedAt = monotonicMicros()
        yield* Effect.promise(() => victim.worker.kill())
        all.push(yield* start(url, `${victim.name}'`))
      })
    const stop = (victim: Process) =>
      Effect.gen(function*() {
        victim.isRunning = false
        victim.worker.freeze()
        const from = monotonicMicros()
        yield* Effect.sleep(ttl * (1.1 + Math.random()))
        victim.stops.push({ from, to: monotonicMicros() })
        victim.worker.thaw()
        victim.isRunning = true
      })
    // One fault may hold up the others for a ttl. The next comes later than that.
    const one = Effect.suspend(() => {
      const running = all.filter(({ isRunning }) => isRunning)
      return running.length > 2 ? Effect.forkScoped(pick([kill, stop])(pick(running))) : Effect.forkChild(Effect.void)
    }).pipe(Effect.tap(Effect.sleep(ttl * (1.2 + Math.random()))))
    const fibers: Array<Fiber.Fiber<void>> = []
    while (performance.now() < endsAt) fibers.push(yield* one)
    yield* Fiber.joinAll(fibers)
  })

/** What is known of one turn: what its process said of it before it died. */
interface Told {
  readonly process: Process
  readonly asked: Extract<TurnMessage, { readonly type: "asked" }>
  entered?: Extract<TurnMessage, { readonly type: "entered" }>
  leaving?: Extract<TurnMessage, { readonly type: "leaving" }>
  left?: Extract<TurnMessage, { readonly type: "left" }>
}

const turnsOf = (process: Process): ReadonlyArray<Told> => {
  const turns = new Map<number, Told>()
  for (const message of process.worker.messages as ReadonlyArray<TurnMessage>) {
    const told = turns.get(message.turn)
    if (message.type === "asked") turns.set(message.turn, { process, asked: message })
    else if (told !== undefined && message.type === "entered") told.entered = message
    else if (told !== undefined && message.type === "leaving") told.leaving = message
    else if (told !== undefined && message.type === "left") told.left = message
  }
  return [...turns.values()]
}

const historyOf = ({ asked, entered, leaving, left, process }: Told): ReadonlyArray<LockEvent> => {
  if (entered === undefined) return []
  const hold = { key, process: process.name, token: String(asked.turn), fence: entered.fences[0]![1] }
  // Killed so soon after it went on that it could not tell: what it held when it was stopped had ended with its lease.
  const stop = process.stops.find(({ from }) => entered.at < from)
  const leftAt = left?.at ?? leaving?.at ?? (stop && stop.from + 1000 * ttl)
  return [
    { ...hold, type: "enter", at: entered.at },
    ...(left?.writes ?? []).map((at): LockEvent => ({ ...hold, type: "write", at })),
    ...(leftAt !== undefined && (left !== undefined || leftAt < (process.diedAt ?? Infinity))
      ? [{ ...hold, type: "leave", at: leftAt } as const]
      : [])
  ]
}

/** A waiter whose process was stopped for so long has lost its place, and stands in line again when that goes on. */
const turnOf = ({ asked, entered, left, process }: Told): ReadonlyArray<Turn> => {
  if (entered === undefined || entered.at > (process.diedAt ?? Infinity)) return []
  const woken = process.stops.filter(({ from, to }) => asked.at < to && from < entered.at).map(({ to }) => to)
  return [{
    process: process.name,
    askedAt: Math.max(asked.at, ...woken),
    enteredAt: entered.at,
    leftAt: Math.min(left?.at ?? Infinity, process.diedAt ?? Infinity)
  }]
}

/** Whether it was in the middle of something when its process was stopped. */
const wasStoppedIn = ({ asked, left, process }: Told): boolean =>
  process.stops.some(({ from, to }) => asked.at < to && from < (left?.toldAt ?? Infinity))

/** Whether it did anything by the permit that its process held when it was stopped, after that went on. */
const outlivedItsLease = ({ entered, left, process }: Told): boolean =>
  entered !== undefined && left !== undefined &&
  process.stops.some(({ from, to }) => entered.at < from && (left.at >= to || left.writes.some((at) => at >= to)))

const millis = soakMillis(8)

test(
  "32 contenders in 4 processes never hold more than 4 permits, while these are killed and stopped",
  () =>
    Effect.gen(function*() {
      yield* nothingUnhandled
      const { url } = yield* redis
      const all = yield* Effect.forEach(["a", "b", "c", "d"], (name) => start(url, name), { concurrency: processes })
      yield* injectFaults(url, all, millis)
      const living = all.filter(({ diedAt }) => diedAt === undefined)
      for (const { worker } of living) worker.send("stop")
      for (const { worker } of living) yield* Effect.promise(() => worker.next(is("closed"), 15_000))
      atMost("permits: only the fence key left after the last has closed", yield* untilOnlyFences(url), ttl + slack)

      const told = all.flatMap(turnsOf)
      const deaths = new Map(all.flatMap(({ diedAt, name }) => diedAt === undefined ? [] : [[name, diedAt] as const]))
      assert.deepStrictEqual(checkMutualExclusion(untilDeath(told.flatMap(historyOf), deaths), permits), [])
      assert.deepStrictEqual(told.filter(outlivedItsLease), [], "told of the loss before anything else is done")
      // Nobody was forgotten, and nothing failed but by a stop.
      const unsettled = told.filter(({ left, process }) => left === undefined && process.diedAt === undefined)
      assert.deepStrictEqual(unsettled, [])
      const failed = told.filter((turn) => turn.left !== undefined && turn.left.told !== "success")
      assert.deepStrictEqual(failed.filter((turn) => !wasStoppedIn(turn)).map(({ left }) => left?.told), [])

      const lateness = latenessOverFifo(told.flatMap(turnOf), permits).map(({ micros }) => micros / 1_000)
      atMost("permits: longest wait over FIFO", Math.max(...lateness), ttl + 1_000)
      const stops = all.flatMap((process) => process.stops)
      note("permits: acquisitions", lateness.length)
      note("permits: kills", deaths.size)
      note("permits: stops", stops.length)
      note("permits: held when stopped, and lost", failed.filter(({ left }) => left?.told === "LockLostError").length)
      assert.isAtLeast(deaths.size + stops.length, millis / ttl / 4)
      assert.isAbove(lateness.length, millis / 50)
    }),
  millis + 60_000
)

test("services that disagree about the number of permits say so once each, with both numbers", () =>
  Effect.gen(function*() {
    const { url } = yield* redis
    const two = yield* serveLogged(url)
    const three = yield* serveLogged(url)
    const one = yield* two.dlock.semaphore(key, { permits: 2 })
    const other = yield* three.dlock.semaphore(key, { permits: 3 })
    for (let round = 0; round < 5; round++) {
      yield* one.withPermits(1)(other.withPermits(1)(Effect.void))
      yield* other.withPermits(1)(one.withPermits(1)(Effect.void))
    }
    for (const [{ lines }, here, elsewhere] of [[two, 2, 3], [three, 3, 2]] as const) {
      const said = yield* until(() => lines.filter(({ level }) => level === "WARN"), 1_000, (found) => found.length > 0)
      assert.strictEqual(said.length, 1)
      assert.match(said[0]!.text, new RegExp(`"${key}".* ${here} permits here.* ${elsewhere} elsewhere`))
      assert.deepStrictEqual(lines, said)
    }
  }))
