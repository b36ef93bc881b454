/** How things look: colours, widths, words. Colours are off without a terminal and with NO_COLOR: picocolors sees to it. */
import pc from "picocolors"

/** A colour for each contender. */
const colours = [pc.cyan, pc.yellow, pc.magenta, pc.green]

export const colourOf = (who: number): (text: string) => string => colours[who % colours.length] ?? pc.white

/** Of the terminal, within reason; 80 when the output is not a terminal. */
export const width = (): number => Math.max(60, Math.min(120, process.stdout.columns ?? 80))

export const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

export const heading = (title: string, more = ""): void => print(`\n  ${pc.bold(title)}${more}\n`)

/** Breaks a text into lines that fit. */
export const wrap = (text: string, columns: number): Array<string> =>
  text.split(" ").reduce<Array<string>>((lines, word) => {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > columns) return [...lines, word]
    return [...lines.slice(0, -1), `${last} ${word}`]
  }, [])

/** A time in microseconds, to be read by people: `1.3 ms`, `0.70 s`. */
export const duration = (micros: number): string =>
  micros < 100_000 ? `${(micros / 1000).toFixed(1)} ms` : `${(micros / 1_000_000).toFixed(2)} s`

export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`

const endings = ["th", "st", "nd", "rd"]

export const ordinal = (n: number): string => `${n}${endings[n] ?? "th"}`
