/** Which requests to a server share a run of its handler, and what each client gets. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Latch from "effect/Latch"
import * as HttpFanout from "../../src/HttpFanout.js"
import { Dlock } from "../../src/index.js"
import type { World } from "./world.js"
import { processes, until } from "./world.js"

type Options = HttpFanout.RunOptions<HttpServerRequest.HttpServerRequest>
type Handler = Effect.Effect<HttpServerResponse.HttpServerResponse, unknown, HttpServerRequest.HttpServerRequest>

/** The same routes in two processes. Each handler is counted, and answers when the gate is open. */
const twoServers = (world: World, answer: Handler, options?: Options) =>
  Effect.gen(function*() {
    const { seen, services } = yield* processes(world, 2)
    const gate = yield* Latch.make()
    const counts = { runs: 0, ends: 0 }
    const app: Handler = Effect.andThen(Effect.sync(() => void counts.runs++), gate.whenOpen(answer)).pipe(
      Effect.ensuring(Effect.sync(() => void counts.ends++))
    )
    const [a, b] = services.map((dlock) => {
      const guarded = HttpFanout.middleware(options)(app).pipe(Effect.provideService(Dlock.Dlock, dlock))
      const handle = HttpEffect.toWebHandler(TestEdition.silent(guarded))
      return (request: Request) => Effect.promise(() => handle(request))
    }) as [(request: Request) => Effect.Effect<Response>, (request: Request) => Effect.Effect<Response>]
    return { a, b, counts, gate, seen }
  })

const text = (body: string) => Effect.succeed(HttpServerResponse.text(body, { headers: { "x-custom": "yes" } }))
const get = (path = "/", init?: RequestInit) => new Request(`http://shop.example${path}`, init)

/** Of what says who asks, or what for, some. */
const tellingApart = [
  "Authorization",
  "Cookie",
  "Accept",
  "Private-Token",
  "X-Tenant-Id",
  "X-Forwarded-User",
  "X-Auth-Request-Email",
  "X-Forwarded-For",
  "X-Forwarded-Host",
  "Forwarded",
  "Origin"
]

export const serverSuite = (world: World): void => {
  const test = it.live

  describe(`requests share a handler: ${world.name}`, () => {
    test("100 identical requests to two processes run it once, and all get its status, headers and bytes", () =>
      Effect.gen(function*() {
        const bytes = Uint8Array.from({ length: 1_000 }, (_, i) => i % 256)
        const answer = HttpServerResponse.uint8Array(bytes, {
          status: 203,
          contentType: "image/png",
          headers: { "x-custom": "yes" }
        })
        const { a, b, counts, gate, seen } = yield* twoServers(world, Effect.succeed(answer))
        const fibers = yield* Effect.forkChild(Effect.all(
          Array.from({ length: 100 }, (_, i) => (i % 2 ? a : b)(get("/report?a=1"))),
          { concurrency: "unbounded" }
        ))
        yield* until("all take part", () => seen.ids.length === 100 && seen.joins >= 2)
        yield* gate.open
        for (const response of yield* Fiber.join(fibers)) {
          assert.strictEqual(response.status, 203)
          assert.strictEqual(response.headers.get("x-custom"), "yes")
          assert.strictEqual(response.headers.get("content-type"), "image/png")
          assert.deepStrictEqual(new Uint8Array(yield* Effect.promise(() => response.arrayBuffer())), bytes)
        }
        assert.strictEqual(counts.runs, 1)
      }))

    const alone: Record<string, readonly [Request, Request, Options?]> = {
      "another path": [get("/a"), get("/b")],
      "another host": [get("/"), new Request("http://other.example/")],
      "another method": [get("/"), get("/", { method: "HEAD" })],
      ...Object.fromEntries(tellingApart.map((name) => [
        `another ${name}`,
        [get("/", { headers: { [name]: "a" } }), get("/", { headers: { [name]: "b" } })]
      ])),
      "a user whom a proxy names, beside headers that are ignored": [
        get("/", { headers: { "x-auth-request-email": "a", "x-forwarded-for": "a" } }),
        get("/", { headers: { "x-auth-request-email": "b", "x-forwarded-for": "b" } }),
        { ignore: ["X-Forwarded-For"] }
      ],
      "a method that changes something": [get("/", { method: "POST" }), get("/", { method: "POST" })]
    }
    for (const [name, [one, other, options]] of Object.entries(alone)) {
      test(`${name} shares nothing`, () =>
        Effect.gen(function*() {
          const { a, b, counts, gate } = yield* twoServers(world, text("x"), options)
          const fiber = yield* Effect.forkChild(Effect.all([a(one), b(other)], { concurrency: 2 }))
          yield* until("both run", () => counts.runs === 2)
          yield* gate.open
          for (const response of yield* Fiber.join(fiber)) assert.strictEqual(response.status, 200)
        }))
    }

    test("requests with the same headers share, whatever their trace, their browser, and what is in `ignore`", () =>
      Effect.gen(function*() {
        const { a, b, counts, gate, seen } = yield* twoServers(world, text("x"), { ignore: [/^x-forwarded-/] })
        const from = (who: string) =>
          get("/", {
            headers: {
              authorization: "the same",
              "user-agent": who,
              traceparent: `00-${who}`,
              "x-request-id": who,
              "content-length": "0",
              "x-forwarded-for": who
            }
          })
        const fiber = yield* Effect.forkChild(
          Effect.all([a(from("1")), a(from("2")), b(from("3"))], { concurrency: 3 })
        )
        yield* until("all take part", () => seen.ids.length === 3 && seen.joins >= 2)
        yield* gate.open
        for (const response of yield* Fiber.join(fiber)) assert.strictEqual(response.status, 200)
        assert.strictEqual(counts.runs, 1)
      }))

    test("processes that ignore other headers share nothing", () =>
      Effect.gen(function*() {
        const { services, seen } = yield* processes(world, 2)
        const options: ReadonlyArray<Options> = [{ ignore: ["x-a", "X-B"] }, { ignore: ["x-b"] }]
        for (const [i, dlock] of services.entries()) {
          const guarded = Effect.provideService(HttpFanout.middleware(options[i])(text("x")), Dlock.Dlock, dlock)
          const handle = HttpEffect.toWebHandler(guarded)
          for (const headers of [{}, { "x-b": "1" }]) yield* Effect.promise(() => handle(get("/", { headers })))
        }
        assert.deepStrictEqual(seen.ids.map((id) => seen.ids.indexOf(id)), [0, 0, 2, 2])
      }))

    const failing = [
      ["fails", Effect.fail("no")],
      ["dies", Effect.die(new Error("bug"))],
      [
        "fails beside something else",
        Effect.andThen(Effect.all([Effect.fail("no"), Effect.never], { concurrency: 2 }), Effect.never)
      ]
    ] as const
    for (const [name, answer] of failing) {
      test(`a handler that ${name} answers all with its 500, and runs once`, () =>
        Effect.gen(function*() {
          const { a, b, counts, gate, seen } = yield* twoServers(world, answer)
          const fiber = yield* Effect.forkChild(Effect.all([a(get()), a(get()), b(get())], { concurrency: 3 }))
          yield* until("all take part", () => seen.ids.length === 3 && seen.joins >= 2)
          yield* gate.open
          for (const response of yield* Fiber.join(fiber)) assert.strictEqual(response.status, 500)
          assert.strictEqual(counts.runs, 1)
        }))
    }

    test("a response with a cookie is for one: everybody's handler runs", () =>
      Effect.gen(function*() {
        const answer = Effect.flatMap(text("x"), HttpServerResponse.setCookie("session", "secret"))
        const { a, b, counts, gate, seen } = yield* twoServers(world, answer)
        const fiber = yield* Effect.forkChild(Effect.all([a(get()), b(get())], { concurrency: 2 }))
        yield* until("both take part", () => seen.joins === 2)
        yield* gate.open
        for (const response of yield* Fiber.join(fiber)) {
          assert.include(response.headers.get("set-cookie") ?? "", "session")
        }
        assert.strictEqual(counts.runs, 2)
      }))

    test("a client that goes away leaves alone, and the last one ends the handler", () =>
      Effect.gen(function*() {
        const { a, counts, gate, seen } = yield* twoServers(world, text("x"))
        const leaves = new AbortController()
        yield* Effect.forkChild(Effect.exit(a(get("/", { signal: leaves.signal }))))
        yield* until("it runs", () => counts.runs === 1)
        const stays = yield* Effect.forkChild(a(get()))
        yield* until("both take part", () => seen.ids.length === 2)
        leaves.abort()
        yield* gate.open
        assert.strictEqual((yield* Fiber.join(stays)).status, 200)
        assert.deepStrictEqual(counts, { runs: 1, ends: 1 })
        yield* gate.close
        const last = new AbortController()
        yield* Effect.forkChild(Effect.exit(a(get("/", { signal: last.signal }))))
        yield* until("it runs again", () => counts.runs === 2)
        last.abort()
        yield* until("it was ended", () => counts.ends === 2)
      }))
  })
}

/** A Redis that nobody answers for. */
export const withoutRedis = (): void => {
  describe("without Redis", () => {
    it.live("a handler runs once for the callers of its process, and is not delayed by a Redis that refuses connections", () =>
      Effect.gen(function*() {
        let runs = 0
        const app = Effect.andThen(Effect.sync(() => void runs++), Effect.delay(text("x"), "20 millis"))
        const guarded = HttpFanout.middleware()(app)
        const dlock = yield* Dlock.Dlock
        const handle = HttpEffect.toWebHandler(TestEdition.silent(Effect.provideService(guarded, Dlock.Dlock, dlock)))
        for (const round of [1, 2, 3]) {
          const [took, responses] = yield* Effect.timed(
            Effect.promise(() => Promise.all([handle(get()), handle(get()), handle(get())]))
          )
          assert.deepStrictEqual(responses.map(({ status }) => status), [200, 200, 200])
          assert.strictEqual(runs, round)
          assert.isBelow(Duration.toMillis(took), 1_000)
        }
      }).pipe(
        Effect.provide(Dlock.layerRedis({ url: "redis://127.0.0.1:1" })),
        TestEdition.silent
      ))
  })
}
