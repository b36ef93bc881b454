/**
 * The contract of the store port (src/internal/store.ts) as theorems. A backend that passes them can carry the engine.
 *
 *     suite("memory", memory, { theorem: (name, body) => it.effect(name, body), elapse: (millis) => TestClock.adjust(millis) })
 */
import { describe } from "@effect/vitest"
import { granting } from "./suites/granting.js"
import { leaving } from "./suites/leaving.js"
import { permits } from "./suites/permits.js"
import { queue } from "./suites/queue.js"
import { reach } from "./suites/reach.js"
import { refreshing } from "./suites/refreshing.js"
import { steps } from "./suites/steps.js"
import type { Backend } from "./world.js"

const suites = { granting, refreshing, leaving, queue, reach, permits, steps }

export const suite = (name: string, make: Backend["make"], options: Omit<Backend, "make">): void => {
  describe(`the store: ${name}`, () => {
    for (const [theme, theorems] of Object.entries(suites)) {
      describe(theme, () => theorems({ make, ...options }))
    }
  })
}
