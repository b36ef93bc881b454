/** The judgement: computed from the history alone, by the checkers that the tests use. */
import pc from "picocolors"
import type { Violation } from "../../test/support/history.js"
import { checkFencing, checkMutualExclusion, maxOvertakes } from "../../test/support/history.js"
import { ttlMillis } from "./contender.js"
import type { Entry } from "./ledger.js"
import { byTime, holdsOf, toLockEvents } from "./ledger.js"
import { count, duration, print } from "./style.js"

/** Prints the figures, and says whether the lock kept its promises. */
export const printVerdict = (entries: ReadonlyArray<Entry>, names: ReadonlyArray<string>): boolean => {
  const events = toLockEvents(entries, names)
  const violations = [...checkMutualExclusion(events), ...checkFencing(events)]
  const holds = holdsOf(entries)

  print("")
  for (const [what, figure] of figures(byTime(entries))) print(`  ${what.padEnd(28)}${figure}`)
  print("")
  for (const { message, rule } of violations.slice(0, 5)) print(pc.red(`  ${rule}: ${message}`))
  if (violations.length > 5) print(pc.red(`  and ${violations.length - 5} more`))

  const overlaps = countOf(violations, "overlap")
  const late = countOf(violations, "stale")
  const isKept = violations.length === 0 && holds.length > 0
  const words = `Overlaps: ${overlaps === 0 ? "none" : overlaps} in ${count(holds.length, "hold")}. ` +
    `Writes after the next holder's first: ${late}.`
  print(isKept ? pc.bold(pc.green(`  ✔ ${words}`)) : pc.bold(pc.red(`  ✘ ${words}`)))
  return isKept
}

const countOf = (violations: ReadonlyArray<Violation>, rule: Violation["rule"]): number =>
  violations.filter((violation) => violation.rule === rule).length

const figures = (known: ReadonlyArray<Entry>): ReadonlyArray<readonly [what: string, figure: string]> => {
  const holds = holdsOf(known)
  const ttl = pc.dim(`  ttl ${ttlMillis / 1000} s`)
  const takeOver = (ending: "killed" | "frozen") =>
    holds.flatMap((hold, i) => {
      const after = holds[i + 1]
      if (hold.endedBy !== ending || after === undefined) return []
      const figure = duration(after.start - hold.usedUntil) + ttl
      return [[`take-over after the ${ending === "killed" ? "kill" : "freeze"}`, figure] as const]
    })
  return [
    ...handOvers(known),
    ...takeOver("killed"),
    ...takeOver("frozen"),
    ...wakings(known),
    ["waiters overtaken", String(overtakes(known))]
  ]
}

/** From a release to the next holder, where somebody waited. */
const handOvers = (known: ReadonlyArray<Entry>) => {
  const holds = holdsOf(known)
  const times = holds.flatMap((hold, i) => {
    const before = holds[i - 1]
    const asked = known.findLast(({ at, type, who }) => type === "asks" && who === hold.who && at <= hold.start)
    return before?.endedBy === "releases" && asked !== undefined && asked.at < before.end
      ? [hold.start - before.end]
      : []
  }).sort((a, b) => a - b)
  const median = times[Math.floor(times.length / 2)]
  if (median === undefined) return []
  const spread = pc.dim(`  median of ${times.length}, ${duration(Math.max(...times))} at most`)
  return [["hand-over after a release", duration(median) + spread] as const]
}

/** From the waking of a frozen holder to the moment it knew, and what it wrote in between. */
const wakings = (known: ReadonlyArray<Entry>) =>
  known.filter(({ type }) => type === "wakes").flatMap(({ at, who }) => {
    const told = known.find((entry) => entry.type === "lost" && entry.who === who && entry.at >= at)
    if (told === undefined) return []
    const writes = known.filter((entry) =>
      entry.type === "writes" && entry.who === who && entry.at >= at && entry.at <= told.at
    ).length
    const figure = duration(told.at - at) + pc.dim(`  ${count(writes, "write")} in between`)
    return [["told of the loss on waking", figure] as const]
  })

/** By how many, at most, one who waited was overtaken. Each contender asks several times: each time counts for itself. */
const overtakes = (known: ReadonlyArray<Entry>): number => {
  const numbered = (type: Entry["type"]) => {
    const turns = new Map<number, number>()
    return known.filter((entry) => entry.type === type).map(({ who }) => {
      const turn = (turns.get(who) ?? 0) + 1
      turns.set(who, turn)
      return `${who}, turn ${turn}`
    })
  }
  return maxOvertakes(numbered("asks"), numbered("holds"))
}
