import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { inject } from "vitest"
import { redis } from "./backends.js"
import { suite } from "./suite.js"
import { patiently } from "./world.js"

suite("Redis", redis(inject("redisUrl")), {
  theorem: (name, body) => it.live(name, () => patiently(body())),
  elapse: (millis) => Effect.sleep(millis)
})
