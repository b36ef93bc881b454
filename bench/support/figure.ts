/** What was measured, and the table of it. */

/** One line of the table. Without a target it is there to be read, not judged. */
export interface Figure {
  readonly name: string
  readonly measured: number
  readonly unit: string
  /** The range over the rounds, or whatever helps to judge the figure. */
  readonly note?: string | undefined
  readonly atLeast?: number | undefined
  readonly atMost?: number | undefined
}

export const isMet = ({ atLeast = -Infinity, atMost = Infinity, measured }: Figure): boolean =>
  measured >= atLeast && measured <= atMost

/** Three digits that count, thousands apart. */
export const format = (value: number): string =>
  Number.isInteger(value) || Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString("en-US")
    : value.toPrecision(3)

const targetOf = ({ atLeast, atMost }: Figure): string =>
  atLeast !== undefined && atLeast === atMost
    ? format(atLeast)
    : atLeast !== undefined
    ? `>= ${format(atLeast)}`
    : atMost !== undefined
    ? `<= ${format(atMost)}`
    : ""

const verdictOf = (figure: Figure): string =>
  figure.atLeast === undefined && figure.atMost === undefined ? "" : isMet(figure) ? "yes" : "NO"

const rowOf = (figure: Figure): ReadonlyArray<string> => [
  figure.name,
  `${format(figure.measured)} ${figure.unit}${figure.note === undefined ? "" : ` (${figure.note})`}`,
  targetOf(figure),
  verdictOf(figure)
]

/** Columns as wide as what is in them. */
export const table = (header: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
  const line = (cells: ReadonlyArray<string>) =>
    cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ").trimEnd()
  return [line(header), widths.map((width) => "-".repeat(width)).join("-|-"), ...rows.map(line)].join("\n")
}

export const figureTable = (figures: ReadonlyArray<Figure>): string =>
  table(["figure", "measured", "target", "ok?"], figures.map(rowOf))
