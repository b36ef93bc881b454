/** What a scenario is: who takes part, what is played in a round, and what the figures should be. */
import type { ContenderId } from "./contenders/index.js"
import type { Group } from "./support/group.js"

/** What a contender did in a round. */
export interface Sample {
  readonly figures: Readonly<Record<string, number>>
  /** What was wrong with it: a figure next to that is worth nothing. */
  readonly wrong: ReadonlyArray<string>
}

export interface Column {
  /** The figure of a sample. */
  readonly figure: string
  readonly title: string
  /** Divided by that of this contender in the same round. */
  readonly of?: ContenderId | undefined
}

/** What a figure of ours should be. */
export interface Target {
  readonly figure: string
  readonly by?: ContenderId | undefined
  readonly of?: ContenderId | undefined
  readonly what: string
  readonly atLeast?: number | undefined
  readonly atMost?: number | undefined
}

export interface Scenario {
  readonly title: string
  readonly contenders: ReadonlyArray<ContenderId>
  readonly rounds: number
  /** Those of which nothing is kept. */
  readonly warmups?: number | undefined
  /**
   * Played once by each before the rounds, and not measured. A service runs for days, and its code is compiled after some
   * thousands of operations only.
   */
  readonly warmUp?: ((group: Group) => Promise<unknown>) | undefined
  readonly play: (group: Group, round: number) => Promise<Sample>
  readonly columns: ReadonlyArray<Column>
  readonly targets: ReadonlyArray<Target>
  readonly notes?: string | undefined
}

export interface Chart {
  /** Of the file. */
  readonly name: string
  readonly figure: string
  readonly title: string
  readonly yTitle: string
}

/** How figures grow with something: in each chart a line for each contender. */
export interface Sweep {
  readonly xTitle: string
  readonly charts: ReadonlyArray<Chart>
  readonly contenders: ReadonlyArray<ContenderId>
  readonly points: ReadonlyArray<number>
  readonly play: (group: Group, point: number) => Promise<Sample["figures"]>
}

const known: ReadonlySet<ContenderId> = new Set(
  ["ours", "oursByPromise", "raw", "rawEffect", "luaQueue", "redisSemaphore", "redlock"]
)

/** A quick look is a minute: ours beside the yardstick, one floor and the two peers that are used most. */
export const playing = (quick: boolean, all: ReadonlyArray<ContenderId>): ReadonlyArray<ContenderId> =>
  quick ? all.filter((id) => known.has(id)) : all
