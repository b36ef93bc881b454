/** The live lines: what happens, as it happens. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import pc from "picocolors"
import { monotonicMicros } from "../../test/support/workers.js"
import { ttlMillis } from "./contender.js"
import type { Entry, Hold } from "./ledger.js"
import { byTime, current, holdsOf, Ledger, waiting } from "./ledger.js"
import { colourOf, count, duration, ordinal, print, width, wrap } from "./style.js"

export interface Service {
  /** Says what the next act is about, after all lines of the one before. */
  readonly narrate: (sentence: string) => Effect.Effect<void>
}

export class Timeline extends Context.Service<Timeline, Service>()("demo/Timeline") {}

/** What one process says may come a little after what another said later: lines wait that long, to come in order. */
const settleMicros = 30_000

export const layer = (names: ReadonlyArray<string>, startedAt: number): Layer.Layer<Timeline, never, Ledger> =>
  Layer.effect(
    Timeline,
    Effect.gen(function*() {
      const { entries } = yield* Ledger
      const printed = new Set<Entry>()
      let acts = 0

      const flushUntil = (at: number) =>
        Effect.sync(() => {
          byTime(entries).forEach((entry, i, known) => {
            if (entry.at > at || printed.has(entry)) return
            printed.add(entry)
            const line = describe(entry, known.slice(0, i + 1))
            if (line === undefined) return
            const [mark, words] = line
            const time = `${((entry.at - startedAt) / 1_000_000).toFixed(2)} s`.padStart(8)
            print(`${pc.dim(time)}  ${mark} ${colourOf(entry.who)(names[entry.who] ?? "")}  ${words}`)
          })
        })

      yield* Effect.suspend(() => flushUntil(monotonicMicros() - settleMicros)).pipe(
        Effect.repeat(Schedule.spaced("15 millis")),
        Effect.forkScoped
      )
      const flush = flushUntil(Infinity)
      yield* Effect.addFinalizer(() => flush)
      return {
        narrate: (sentence) =>
          Effect.map(flush, () => {
            print("")
            const [first = "", ...others] = wrap(sentence, width() - 6)
            print(`  ${pc.bold(`${++acts}  ${first}`)}`)
            for (const line of others) print(`     ${pc.bold(line)}`)
            print("")
          })
      }
    })
  )

/** `soFar` ends with the entry itself. */
const describe = (entry: Entry, soFar: ReadonlyArray<Entry>): readonly [mark: string, words: string] | undefined => {
  const paint = colourOf(entry.who)
  const mine = holdsOf(soFar).findLast((hold) => hold.who === entry.who)
  switch (entry.type) {
    case "asks": {
      const place = waiting(soFar).length
      const isNext = current(soFar).length === 0 && place === 1
      return isNext ? undefined : [pc.dim("·"), pc.dim(`waits, ${ordinal(place)} in the queue`)]
    }
    case "holds":
      return [paint("●"), `${paint("has the lock")}${afterWhat(entry, soFar)}`]
    case "releases":
      return [paint("○"), `gives it back after ${held(mine)}`]
    case "killed":
      return [pc.red("✖"), pc.red(`is killed (SIGKILL), having held it for ${held(mine)}`)]
    case "frozen":
      return [pc.blueBright("▒"), pc.blueBright(`is frozen (SIGSTOP), having held it for ${held(mine)}`)]
    case "wakes": {
      const frozenFor = duration(entry.at - (mine?.end ?? entry.at))
      return [pc.blueBright("░"), pc.blueBright(`wakes (SIGCONT) after ${frozenFor}`)]
    }
    case "lost": {
      const woke = soFar.findLast(({ type, who }) => type === "wakes" && who === entry.who)
      const after = woke === undefined ? "" : `, ${duration(entry.at - woke.at)} after waking`
      return [pc.red("!"), `${pc.red(`is told: LockLostError (${entry.reason})`)}${after}`]
    }
    default:
      return undefined
  }
}

/** How long after the hold before this one, and what had ended that. */
const afterWhat = (entry: Entry, soFar: ReadonlyArray<Entry>): string => {
  const before = holdsOf(soFar).at(-2)
  const asked = soFar.findLast(({ type, who }) => type === "asks" && who === entry.who)
  // Nobody waited: it was just free.
  if (before === undefined || asked === undefined || asked.at > before.end || entry.at < before.end) return ""
  const time = duration(entry.at - before.usedUntil)
  const ttl = pc.dim(` (ttl ${ttlMillis / 1000} s)`)
  switch (before.endedBy) {
    case "killed":
      return pc.bold(`, ${time} after the kill`) + ttl
    case "frozen":
      return pc.bold(`, ${time} after the freeze`) + ttl
    case "lost":
      return pc.dim(`, ${time} after the loss`)
    default:
      return pc.dim(`, ${time} after the release`)
  }
}

const held = (hold: Hold | undefined): string =>
  hold === undefined ? "no time" : `${duration(hold.usedUntil - hold.start)}, ${count(hold.writes, "write")}`
