/**
 * Several ways to do the same thing, measured in turns: A B C, B C A, C A B … What slows the machine down for a while
 * then slows all of them, and they are compared round by round.
 */
import type { Figure } from "./figure.js"
import { format } from "./figure.js"
import { median } from "./stats.js"

export interface Contestant {
  readonly name: string
  /** Does it that often. */
  readonly run: (operations: number) => Promise<unknown>
  /** The least share of the first contestant's speed that it should reach. */
  readonly target?: number | undefined
}

const speedOf = async ({ run }: Contestant, operations: number): Promise<number> => {
  const startedAt = performance.now()
  await run(operations)
  return operations / (performance.now() - startedAt) * 1000
}

const range = (values: ReadonlyArray<number>): string =>
  `${format(Math.min(...values))} to ${format(Math.max(...values))}`

/** Speeds, and ratios to the first contestant: the median of the rounds' own ratios. */
export const race = async (
  scenario: string,
  contestants: ReadonlyArray<Contestant>,
  { operations, rounds }: { readonly operations: number; readonly rounds: number }
): Promise<ReadonlyArray<Figure>> => {
  for (const contestant of contestants) await contestant.run(operations)
  const speeds = contestants.map((): Array<number> => [])
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      const who = (round + turn) % contestants.length
      speeds[who]!.push(await speedOf(contestants[who]!, operations))
    }
  }
  const figures = contestants.map(({ name }, who): Figure => ({
    name: `${scenario}: ${name}`,
    measured: median(speeds[who]!),
    unit: "/s",
    note: range(speeds[who]!)
  }))
  const ratios = contestants.slice(1).map(({ name, target }, index): Figure => {
    const perRound = speeds[index + 1]!.map((speed, round) => speed / speeds[0]![round]!)
    return {
      name: `${scenario}: ${name} / ${contestants[0]!.name}`,
      measured: median(perRound),
      unit: "",
      note: range(perRound),
      atLeast: target
    }
  })
  return [...figures, ...ratios]
}
