/** What came of all rounds, in Markdown. */
import { kinds } from "./nemesis.js"
import type { Round } from "./round.js"

const add = (a: number, b: number): number => a + b

const merged = (
  all: ReadonlyArray<{ readonly [what: string]: number }>,
  merge: (a: number, b: number) => number
): ReadonlyArray<readonly [string, number]> => {
  const sums = new Map<string, number>()
  for (const [what, value] of all.flatMap(Object.entries<number>)) {
    sums.set(what, merge(sums.get(what) ?? 0, value))
  }
  return [...sums]
}

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string | number>>): string =>
  [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n")

export const report = (rounds: ReadonlyArray<Round>, seed: number, seconds: number): string => {
  const violations = rounds.flatMap((round) => round.violations.map((what) => `- seed ${round.seed}: ${what}`))
  const faults = rounds.flatMap((round) => round.faults)
  const longestOf = (kind: string) =>
    faults.filter((fault) => fault.kind === kind).map(({ from, to }) => (to - from) / 1_000).reduce(
      (a, b) => Math.max(a, b),
      0
    )
  const left = rounds.flatMap(({ keys }) => keys.left)
  return [
    "# Soak",
    `${violations.length} violations in ${rounds.length} rounds, ${(seconds / 60).toFixed(1)} minutes. Seed ${seed}, ` +
    `${rounds[0]?.processes ?? 0} processes at a time.`,
    ...(violations.length === 0 ? [] : [violations.join("\n")]),
    table(["what", "how many"], [...merged(rounds.map(({ counts }) => counts), add), ["faults", faults.length]]),
    table(
      ["longest", "ms"],
      merged(rounds.map(({ longest }) => longest), Math.max).map(([what, millis]) => [what, millis.toFixed(0)])
    ),
    table(
      ["fault", "times", "longest, ms"],
      kinds.map((kind) => [kind, faults.filter((fault) => fault.kind === kind).length, longestOf(kind).toFixed(0)])
    ),
    `Left in Redis: ${rounds.map(({ keys }) => keys.all - keys.left.length).reduce(add, 0)} fences after ` +
    `${rounds.length} rounds, and ${left.length} other keys${left.length === 0 ? "" : `: ${left.join(", ")}`}.`
  ].join("\n\n") + "\n"
}
