/** The history of a run: written as things happen, watched by the story, judged at the end. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Types from "effect/Types"
import type { LockEvent } from "../../test/support/history.js"
import { lockKey } from "./contender.js"
import type { Event } from "./contender.js"

/** The demo cannot go on. The message says why. */
export class DemoError extends Data.TaggedError("DemoError")<{ readonly message: string }> {}

/** `who` is the index of a contender. */
export type Entry = Event & { readonly who: number }

/** From the grant to the moment its holder could do nothing more with it. */
export interface Hold {
  readonly who: number
  readonly fence: number
  readonly start: number
  readonly end: number
  /** When it stopped being of use: before `end` for one that was killed, which was surely dead by then only. */
  readonly usedUntil: number
  /** `undefined` while it lasts. */
  readonly endedBy: "releases" | "lost" | "killed" | "frozen" | undefined
  readonly writes: number
}

export interface Service {
  /** In the order in which they became known. */
  readonly entries: ReadonlyArray<Entry>
  readonly record: (entry: Entry) => void
  /** Makes all that wait for something fail. */
  readonly fail: (message: string) => void
  /** Waits until there is something to be found. Looks again after each entry. */
  readonly until: <A>(what: string, look: () => A | undefined, seconds?: number) => Effect.Effect<A, DemoError>
}

export class Ledger extends Context.Service<Ledger, Service>()("demo/Ledger") {}

/** Fails instead of waiting for ever for something that goes wrong. */
export const within =
  (what: string, seconds = 10) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | DemoError, R> =>
    Effect.timeoutOrElse(effect, {
      duration: Duration.seconds(seconds),
      orElse: () => Effect.fail(new DemoError({ message: `Waited ${seconds} seconds in vain for this: ${what}.` }))
    })

export const layer: Layer.Layer<Ledger> = Layer.sync(Ledger, () => {
  const entries: Array<Entry> = []
  const watchers = new Set<() => void>()
  let failure: string | undefined
  const changed = () => {
    for (const watcher of [...watchers]) watcher()
  }
  return {
    entries,
    record: (entry) => {
      entries.push(entry)
      changed()
    },
    fail: (message) => {
      failure ??= message
      changed()
    },
    until: <A>(what: string, look: () => A | undefined, seconds?: number) =>
      Effect.callback<A, DemoError>((resume) => {
        const watcher = () => {
          const found = look()
          if (failure !== undefined) resume(Effect.fail(new DemoError({ message: failure })))
          else if (found !== undefined) resume(Effect.succeed(found))
          else return
          watchers.delete(watcher)
        }
        watchers.add(watcher)
        watcher()
        return Effect.sync(() => watchers.delete(watcher))
      }).pipe(within(what, seconds))
  }
})

/** Equal stamps keep the order in which they were recorded. */
export const byTime = (entries: ReadonlyArray<Entry>): Array<Entry> => [...entries].sort((a, b) => a.at - b.at)

/**
 * The holds, by start. A hold ends when its holder is about to release, is told of the loss, or has died. No code runs
 * in a frozen process: there it ends with the freeze, and whatever is written after that is written without a hold.
 */
export const holdsOf = (entries: ReadonlyArray<Entry>): ReadonlyArray<Hold> => {
  const holds: Array<Hold> = []
  const open = new Map<number, Types.Mutable<Hold>>()
  const close = (who: number, end: number, endedBy: Hold["endedBy"]) => {
    const hold = open.get(who)
    if (hold === undefined) return
    Object.assign(hold, { end, endedBy, usedUntil: Math.min(hold.usedUntil, end) })
    open.delete(who)
  }
  for (const entry of byTime(entries)) {
    const { at, who } = entry
    const hold = open.get(who)
    if (entry.type === "holds") {
      const { fence } = entry
      const opened = { who, fence, start: at, end: Infinity, usedUntil: Infinity, endedBy: undefined, writes: 0 }
      open.set(who, opened)
      holds.push(opened)
    } else if (entry.type === "writes") {
      if (hold !== undefined) hold.writes++
    } else if (entry.type === "killed") {
      if (hold !== undefined) hold.usedUntil = at
    } else if (entry.type === "died") {
      close(who, at, "killed")
    } else if (entry.type === "releases" || entry.type === "lost" || entry.type === "frozen") {
      close(who, at, entry.type)
    }
  }
  return holds
}

/** The holds that last. */
export const current = (entries: ReadonlyArray<Entry>): ReadonlyArray<Hold> =>
  holdsOf(entries).filter((hold) => hold.endedBy === undefined)

/** Who waits, in the order in which they asked. */
export const waiting = (entries: ReadonlyArray<Entry>): ReadonlyArray<number> =>
  entries.reduce<ReadonlyArray<number>>((queue, { type, who }) => {
    if (type === "asks") return [...queue, who]
    return type === "holds" || type === "died" ? queue.filter((waiter) => waiter !== who) : queue
  }, [])

/** The history as the checkers of the tests want it. A write is stamped when it was taken. */
export const toLockEvents = (entries: ReadonlyArray<Entry>, names: ReadonlyArray<string>): Array<LockEvent> => {
  const event = (type: LockEvent["type"], who: number, fence: number, at: number): LockEvent => ({
    type,
    key: lockKey,
    process: names[who] ?? "",
    fence,
    at
  })
  return [
    ...holdsOf(entries).flatMap((hold) => [
      event("enter", hold.who, hold.fence, hold.start),
      ...hold.endedBy === undefined ? [] : [event("leave", hold.who, hold.fence, hold.end)]
    ]),
    ...entries.flatMap((entry) => entry.type === "writes" ? [event("write", entry.who, entry.fence, entry.at)] : [])
  ]
}
