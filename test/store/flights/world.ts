/** A short language for asking the flight port. A test has three processes `a`, `b` and `c` of one server, and an id. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import { randomUUID } from "node:crypto"
import type { Answer, FlightEvent, FlightStore, JoinAnswer } from "../../../src/internal/flightStore.js"
import type { Backend, Process } from "../world.js"
import { long } from "../world.js"

export interface Terms {
  readonly id?: string
  readonly ttl?: number
  readonly keep?: number
  readonly retention?: number
  readonly gaveUp?: string
}

export class Client {
  constructor(readonly process: Process, readonly id: string) {}

  get store(): FlightStore {
    return this.process.store.flights
  }

  join(token: string, { gaveUp, id = this.id, keep = 0, ttl = long }: Terms = {}) {
    return this.store.join({ id, token, gaveUp, ttlMillis: ttl, keepMillis: keep, patient: true })
  }

  refresh(token: string, { id = this.id, ttl = long }: Terms = {}) {
    return Effect.map(this.store.refresh([{ id, token, ttlMillis: ttl }]), (answers) => {
      assert.lengthOf(answers, 1)
      return answers[0]!
    })
  }

  finish(token: string, payload: string, { id = this.id, keep = 0, retention = long }: Terms = {}) {
    return this.store.finish({ id, token, payload, retentionMillis: retention, keepMillis: keep, patient: true })
  }

  leave(token: string, id = this.id) {
    return this.store.leave({ id, token })
  }

  refuse(token: string) {
    return this.store.refuse({ id: this.id, token })
  }

  fetch(token: string) {
    return this.store.fetch({ id: this.id, token })
  }

  /** All messages since the last time. A probe comes back after whatever was sent before it. */
  get events(): Effect.Effect<ReadonlyArray<FlightEvent>> {
    const isMessage = ({ _tag }: FlightEvent) => _tag !== "Subscribed" && _tag !== "Unsubscribed"
    return this.store.probe.pipe(
      Effect.andThen(Queue.clear(this.store.inbox)),
      Effect.map((events) => events.filter(isMessage))
    )
  }
}

export const world = (make: Backend["make"]) =>
  Effect.gen(function*() {
    const server = yield* make
    const id = randomUUID()
    const client = Effect.map(server.connect, (process) => new Client(process, id))
    return { server, id, ...yield* Effect.all({ a: client, b: client, c: client }, { concurrency: 3 }) }
  })

export const leads = (answer: JoinAnswer | Answer) => {
  assert.strictEqual(answer._tag, "Leads")
  assert(answer._tag === "Leads")
  return answer
}

export const follows = (answer: JoinAnswer | Answer) => {
  assert.strictEqual(answer._tag, "Follows")
  assert(answer._tag === "Follows")
  return answer
}

export const outcome = (answer: JoinAnswer | Answer | FlightEvent) => {
  assert.strictEqual(answer._tag, "Outcome")
  assert(answer._tag === "Outcome")
  return answer.payload
}

export const gone = (answer: JoinAnswer | Answer): void => assert.strictEqual(answer._tag, "Gone")
