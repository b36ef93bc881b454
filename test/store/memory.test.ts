import { it } from "@effect/vitest"
import * as TestClock from "effect/TestClock"
import { memory } from "./backends.js"
import { suite } from "./suite.js"

suite("memory", memory, {
  theorem: (name, body) => it.scoped(name, body),
  elapse: (millis) => TestClock.adjust(millis)
})
