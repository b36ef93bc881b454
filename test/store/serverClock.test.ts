/** The upper bound of the server's time that R3 and R32 stand on. */
import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "fast-check"
import * as ServerClock from "../../src/internal/serverClock.js"

describe("the server's clock, seen from here", () => {
  it("is never behind what the server shows, however long replies take, and as near as the best of them", () => {
    const reply = FastCheck.record({
      pause: FastCheck.integer({ min: 0, max: 5_000 }),
      there: FastCheck.integer({ min: 0, max: 400 }),
      back: FastCheck.integer({ min: 0, max: 400 })
    })
    const replies = FastCheck.array(reply, { minLength: 1, maxLength: 30 })
    FastCheck.assert(
      FastCheck.property(
        replies,
        FastCheck.double({ min: 0.992, max: 1.008, noNaN: true }),
        FastCheck.integer({ min: -1e9, max: 1e9 }),
        (replies, rate, start) => {
          const clock = ServerClock.make()
          const server = (local: number) => start + local * rate
          let now = 1_000_000
          for (const { back, pause, there } of replies) {
            const sentAt = now += pause
            const shown = Math.floor(server(now += there))
            clock.learn(shown, sentAt, now += back)
            assert.isAtLeast(clock.atMost(now), server(now))
            // R32: also of a time before, though what was learned since is nearer to now.
            for (const other of [now + 700, now - 700, 1_000_000]) {
              assert.isAtLeast(clock.atMost(other), server(other))
            }
            assert.isAtMost(clock.atMost(now), server(now) + there + back + 20 + (there + back) * 0.02)
          }
        }
      )
    )
  })

  it("forgets a slow reply when a quick one comes, and believes a step forward at once", () => {
    const clock = ServerClock.make()
    assert.isFalse(clock.synchronized())
    clock.learn(5_000, 0, 300)
    assert.strictEqual(clock.atMost(300), 5_304)
    clock.learn(5_100, 400, 401)
    assert.isAtMost(clock.atMost(401), 5_103)
    clock.learn(5_300, 402, 700)
    assert.isAtMost(clock.atMost(700), 5_406)
    clock.learn(65_000, 701, 705)
    assert.isAtLeast(clock.atMost(705), 65_004)
  })
})
