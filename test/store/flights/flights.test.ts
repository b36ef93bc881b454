import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { inject } from "vitest"
import { memory, redis } from "../backends.js"
import { patiently } from "../world.js"
import { suite } from "./suite.js"

suite("memory", memory, {
  theorem: (name, body) => it.effect(name, body),
  elapse: (millis) => TestClock.adjust(millis)
})

suite("Redis", redis(inject("redisUrl")), {
  theorem: (name, body) => it.live(name, () => patiently(body())),
  elapse: (millis) => Effect.sleep(millis)
})
