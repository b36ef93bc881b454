/** From results to tables: ours beside each peer, the yardstick and the floors; and whether the targets are met. */
import type { ContenderId } from "../contenders/index.js"
import type { Column, Target } from "../scenario.js"
import type { Played, Result } from "./play.js"
import { median } from "./stats.js"

/** A target, and what became of it. */
export interface Verdict {
  readonly what: string
  readonly measured: string
  readonly target: string
  readonly isMet: boolean
}

export interface Section {
  readonly title: string
  readonly header: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
  readonly verdicts: ReadonlyArray<Verdict>
  readonly notes?: string | undefined
}

const none = "–"

/** Three digits that count, thousands apart. */
export const format = (value: number): string =>
  Number.isInteger(value) || Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString("en-US")
    : value.toPrecision(3)

/** The median, and from where to where it went. */
export const formatAll = (values: ReadonlyArray<number>): string =>
  values.length === 0
    ? none
    : values.length === 1 || Math.min(...values) === Math.max(...values)
    ? format(median(values))
    : `${format(median(values))} (${format(Math.min(...values))}–${format(Math.max(...values))})`

/** A figure in all rounds, divided by that of another in the same round. */
const valuesOf = (played: Played, figure: string, divisor: Played | undefined): ReadonlyArray<number> =>
  played.samples.flatMap((sample, round) => {
    const value = sample?.figures[figure]
    const by = divisor === undefined ? 1 : divisor.samples[round]?.figures[figure]
    return value === undefined || by === undefined ? [] : [value / by]
  })

const find = ({ played }: Result, id: ContenderId | undefined) => played.find((one) => one.id === id)

/** A quick look leaves out some by which others are divided. */
const canDivide = (result: Result) => ({ of }: Column | Target): boolean =>
  of === undefined || find(result, of) !== undefined

const cellOf = (result: Result, played: Played, { figure, of }: Column): string =>
  formatAll(valuesOf(played, figure, find(result, of)))

/** The same trouble of several rounds once, and how often. */
const summary = (wrong: ReadonlyArray<string>): string =>
  [...new Set(wrong)].slice(0, 3)
    .map((what) => {
      const times = wrong.filter((other) => other === what).length
      return times === 1 ? what : `${what} (${times} times)`
    })
    .join("; ")

const nameOf = ({ id, name, wrong }: Played): string => {
  const shown = id.startsWith("ours") ? `**${name}**` : name
  return wrong.length === 0 ? shown : `${shown} ✗ ${summary(wrong)}`
}

const boundOf = ({ atLeast, atMost }: Target): string =>
  atLeast === undefined ? `<= ${format(atMost!)}` : `>= ${format(atLeast)}`

const verdictOf = (result: Result, target: Target): Verdict => {
  const { atLeast = -Infinity, atMost = Infinity, by = "ours", figure, of, what } = target
  const played = find(result, by)!
  const values = valuesOf(played, figure, find(result, of))
  const middle = median(values)
  return {
    what,
    measured: `${formatAll(values)}${played.wrong.length === 0 ? "" : ` ✗ ${summary(played.wrong)}`}`,
    target: boundOf(target),
    isMet: middle >= atLeast && middle <= atMost && played.wrong.length === 0
  }
}

export const sectionOf = (result: Result): Section => {
  const { notes, title } = result.scenario
  const columns = result.scenario.columns.filter(canDivide(result))
  const targets = result.scenario.targets.filter(canDivide(result))
  return {
    title,
    header: ["", ...columns.map((column) => column.title)],
    rows: result.played.map((
      played
    ) => [nameOf(played), ...columns.map((column) => cellOf(result, played, column))]),
    verdicts: targets.map((target) => verdictOf(result, target)),
    notes
  }
}

export const markdownTable = (header: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n")

const verdictRow = ({ isMet, measured, target, what }: Verdict): ReadonlyArray<string> => [
  what,
  measured,
  target,
  isMet ? "yes" : "**no**"
]

export const markdownSection = ({ header, notes, rows, title, verdicts }: Section): string =>
  [
    `## ${title}`,
    markdownTable(header, rows),
    ...verdicts.length === 0 ? [] : [markdownTable(["ours", "measured", "target", "met"], verdicts.map(verdictRow))],
    ...notes === undefined ? [] : [notes]
  ].join("\n\n")

/** All targets in one table. */
export const markdownVerdicts = (sections: ReadonlyArray<Section>): string =>
  markdownTable(
    ["work", "what", "measured", "target", "met"],
    sections.flatMap(({ title, verdicts }) => verdicts.map((verdict) => [title, ...verdictRow(verdict)]))
  )
