/** The whole run in one picture: a row for each contender, a column for each slice of time. */
import pc from "picocolors"
import type { Entry } from "./ledger.js"
import { byTime, holdsOf } from "./ledger.js"
import { colourOf, print, width } from "./style.js"

interface Cell {
  readonly glyph: string
  readonly paint: (text: string) => string
}

const steps = [1, 2, 5, 10, 20, 60]

export const printChart = (entries: ReadonlyArray<Entry>, names: ReadonlyArray<string>, startedAt: number): void => {
  const known = byTime(entries)
  const endsAt = known.at(-1)?.at ?? startedAt
  const label = Math.max(...names.map((name) => name.length))
  const columns = width() - label - 6
  const columnOf = (at: number) => Math.min(columns, Math.round((at - startedAt) / (endsAt - startedAt) * columns))

  print("")
  names.forEach((name, who) => {
    const row = rowOf(known, who, columns, (at) => columnOf(Math.min(at, endsAt)))
    print(`  ${colourOf(who)(name.padEnd(label))}  ${row.map(({ glyph, paint }) => paint(glyph)).join("")}`)
  })
  printAxis(" ".repeat(label + 4), columns, (endsAt - startedAt) / 1_000_000)
  print("")
  print(`  ${legend(new Set(known.map(({ type }) => type)))}`)
}

/** Later strokes go over earlier ones. Neighbours share their rounded border, so what does not overlap looks so. */
const rowOf = (
  known: ReadonlyArray<Entry>,
  who: number,
  columns: number,
  columnOf: (at: number) => number
): ReadonlyArray<Cell> => {
  const cells: Array<Cell> = Array.from({ length: columns }, () => ({ glyph: " ", paint: String }))
  const stroke = (from: number, to: number, glyph: string, paint: Cell["paint"]) => {
    const first = Math.min(columnOf(from), columns - 1)
    cells.fill({ glyph, paint }, first, Math.max(first + 1, columnOf(to)))
  }
  const mine = known.filter((entry) => entry.who === who)
  const holds = holdsOf(known)
  const next = (after: number, ...types: ReadonlyArray<Entry["type"]>) =>
    mine.find(({ at, type }) => at >= after && types.includes(type))?.at ?? Infinity

  for (const { at, type } of mine) {
    if (type === "asks") stroke(at, next(at, "holds", "died"), "·", pc.dim)
    if (type === "frozen") stroke(at, next(at, "wakes"), "▒", pc.blueBright)
    if (type === "killed") stroke(at, holds.find(({ start }) => start > at)?.start ?? at, "┄", pc.red)
  }
  for (const hold of holds) if (hold.who === who) stroke(hold.start, hold.usedUntil, "█", colourOf(who))
  for (const { at, type } of mine) {
    if (type === "killed") stroke(at, at, "✖", pc.red)
    if (type === "lost") stroke(at, at, "!", pc.red)
  }
  return cells
}

const printAxis = (indent: string, columns: number, seconds: number): void => {
  const step = steps.find((step) => step / seconds * columns >= 5) ?? seconds
  const line = Array.from({ length: columns }, () => "─")
  const labels = Array.from({ length: columns + 4 }, () => " ")
  for (let at = 0; at <= seconds; at += step) {
    const column = Math.round(at / seconds * columns)
    if (column >= columns) break
    line[column] = "┬"
    const text = at === 0 ? "0 s" : String(at)
    labels.splice(column, text.length, ...text)
  }
  print(pc.dim(indent + line.join("")))
  print(pc.dim((indent + labels.join("")).trimEnd()))
}

const legend = (seen: ReadonlySet<Entry["type"]>): string =>
  [
    "█ holds",
    `${pc.dim("·")} waits`,
    ...seen.has("killed") ? [`${pc.red("✖")} killed`, `${pc.red("┄")} lease runs out`] : [],
    ...seen.has("frozen") ? [`${pc.blueBright("▒")} frozen`] : [],
    ...seen.has("lost") ? [`${pc.red("!")} told of the loss`] : []
  ].join("  ")
