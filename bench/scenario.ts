/** What a scenario gets and what it gives. */
import type { Figure } from "./support/figure.js"

export interface Setting {
  /** A server that nobody else uses. */
  readonly url: string
  /** A run of under a minute, for all scenarios together. */
  readonly quick: boolean
}

export type Scenario = (setting: Setting) => Promise<ReadonlyArray<Figure>>
