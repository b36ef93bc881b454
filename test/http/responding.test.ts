/** What a server does to the responses of a guarded app: around the app, and as the middleware of the server itself. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HttpEffect from "effect/http/HttpEffect"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as HttpFanout from "../../src/HttpFanout.js"
import { Dlock } from "../../src/index.js"
import type { Seen, World } from "./world.js"
import { processes, until, worlds } from "./world.js"

type App<E = never, R = never> = Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  E,
  R | HttpServerRequest.HttpServerRequest
>
type Handler = App<unknown, Scope.Scope>
type Options = HttpFanout.RunOptions<HttpServerRequest.HttpServerRequest>

interface Servers {
  readonly ask: (process: number, id: string, init?: RequestInit) => Effect.Effect<Response>
  readonly counts: { readonly runs: number }
  readonly gate: Latch.Latch
  readonly seen: Seen
}

/** Adds a header when the response is about to be sent. */
const adding = (name: string, valueOf: (request: HttpServerRequest.HttpServerRequest) => string | undefined) =>
  HttpEffect.appendPreResponseHandler((request, response) =>
    Effect.succeed(HttpServerResponse.setHeader(response, name, valueOf(request) ?? ""))
  )

/** Each client gets back the id of its own request, whoever's request the handler runs for. */
const echoing = <E, R>(app: App<E, R>): App<E, R> =>
  Effect.andThen(adding("x-echo", ({ headers }) => headers["x-request-id"]), app)

const modes = {
  "around the app": (app: Handler, guard: <E>(app: App<E, Scope.Scope>) => App<E, Scope.Scope>) =>
    HttpEffect.toWebHandler(echoing(guard(app))),
  "as the server's middleware": (app: Handler, guard: <E>(app: App<E, Scope.Scope>) => App<E, Scope.Scope>) =>
    HttpEffect.toWebHandler(app, <E, R>(responding: App<E, R>) =>
      // SAFETY: what responds to a request needs nothing else here.
      echoing(guard(responding as App<E, Scope.Scope>)))
}

const suite = (world: World, mode: keyof typeof modes) => {
  /** The same app in two processes. It answers when the gate is open. */
  const twoServers = (
    answer: (run: number) => Handler,
    options?: Options
  ): Effect.Effect<Servers, never, Scope.Scope> =>
    Effect.gen(function*() {
      const { seen, services } = yield* processes(world, 2)
      const gate = yield* Latch.make()
      const counts = { runs: 0 }
      const app = Effect.suspend(() => gate.whenOpen(answer(++counts.runs)))
      const handles = services.map((dlock) =>
        modes[mode](app, (app) =>
          HttpFanout.middleware(options)(app).pipe(Effect.provideService(Dlock.Dlock, dlock), TestEdition.silent))
      )
      const ask = (process: number, id: string, init?: RequestInit) => {
        const request = new Request("http://shop.example/", { headers: { "x-request-id": id }, ...init })
        return Effect.promise(() =>
          handles[process]?.(request) ?? assert.fail("no such process")
        )
      }
      return { ask, counts, gate, seen }
    })

  /** Three clients in two processes, in one flight. */
  const together = ({ ask, counts, gate, seen }: Servers) =>
    Effect.gen(function*() {
      const first = yield* Effect.forkChild(ask(0, "a"))
      yield* until("it runs", () => counts.runs === 1)
      const others = [yield* Effect.forkChild(ask(0, "b")), yield* Effect.forkChild(ask(1, "c"))]
      yield* until("all take part", () => seen.ids.length === 3 && seen.joins >= 2)
      yield* gate.open
      return yield* Effect.forEach([first, ...others], Fiber.join)
    })

  const bodies = (responses: ReadonlyArray<Response>) =>
    Effect.forEach(responses, (response) => Effect.promise(() => response.text()))

  describe(`a guard ${mode}: ${world.name}`, () => {
    it.live("what the handler adds to its response is everybody's, and what is added around it each one's own", () =>
      Effect.gen(function*() {
        const servers = yield* twoServers((run) =>
          adding("x-added", ({ headers }) => `${run} for ${headers["x-request-id"]}`).pipe(
            Effect.as(HttpServerResponse.text("x"))
          )
        )
        const responses = yield* together(servers)
        assert.deepStrictEqual(responses.map(({ headers }) => headers.get("x-added")), Array(3).fill("1 for a"))
        assert.deepStrictEqual(responses.map(({ headers }) => headers.get("x-echo")), ["a", "b", "c"])
        assert.deepStrictEqual(yield* bodies(responses), ["x", "x", "x"])
        assert.strictEqual(servers.counts.runs, 1)
      }))

    it.live("the response that a handler fails with is everybody's", () =>
      Effect.gen(function*() {
        const servers = yield* twoServers(() => Effect.fail("no"))
        const responses = yield* together(servers)
        assert.deepStrictEqual(responses.map(({ status }) => status), [500, 500, 500])
        assert.deepStrictEqual(responses.map(({ headers }) => headers.get("x-echo")), ["a", "b", "c"])
        assert.strictEqual(servers.counts.runs, 1)
      }))

    it.live("a client that goes away takes nothing from the others, and nothing of its own stays", () =>
      Effect.gen(function*() {
        const servers = yield* twoServers(() => Effect.as(adding("x-added", () => "yes"), HttpServerResponse.text("x")))
        const { ask, counts, gate, seen } = servers
        const leaves = new AbortController()
        const first = yield* Effect.forkChild(ask(0, "a", { signal: leaves.signal }))
        yield* until("it runs", () => counts.runs === 1)
        const others = [yield* Effect.forkChild(ask(0, "b")), yield* Effect.forkChild(ask(1, "c"))]
        yield* until("all take part", () => seen.ids.length === 3 && seen.joins >= 2)
        leaves.abort()
        const left = yield* Fiber.join(first)
        assert.isAtLeast(left.status, 499)
        assert.isNull(left.headers.get("x-added"))
        yield* gate.open
        const responses = yield* Effect.forEach(others, Fiber.join)
        assert.deepStrictEqual(responses.map(({ headers }) => headers.get("x-echo")), ["b", "c"])
        assert.deepStrictEqual(responses.map(({ headers }) => headers.get("x-added")), ["yes", "yes"])
        assert.strictEqual(counts.runs, 1)
      }))

    for (const [name, options] of Object.entries({ "over the cap": { maxBodyBytes: 10 }, "in parts": {} })) {
      it.live(`a stream ${name} comes whole, from what is open as long as it is read`, () =>
        Effect.gen(function*() {
          const chunks = Array.from({ length: 20 }, (_, i) => `part ${i} `)
          let opened = 0
          let closed = 0
          const answer = Effect.gen(function*() {
            const own = { isOpen: true }
            yield* Effect.acquireRelease(
              Effect.sync(() => void opened++),
              () =>
                Effect.sync(() => {
                  own.isOpen = false
                  closed++
                })
            )
            const read = (part: string) =>
              Effect.suspend(() => own.isOpen ? Effect.succeed(Buffer.from(part)) : Effect.die(new Error("closed")))
            return HttpServerResponse.stream(Stream.mapEffect(Stream.fromIterable(chunks), read))
          })
          const servers = yield* twoServers(() => answer, options)
          const responses = yield* together(servers)
          assert.deepStrictEqual(yield* bodies(responses), Array(3).fill(chunks.join("")))
          assert.strictEqual(servers.counts.runs, name === "in parts" ? 1 : 3)
          assert.strictEqual(opened, servers.counts.runs)
          yield* until("all is closed", () => closed === opened)
        }))
    }
  })
}

for (const world of worlds) {
  suite(world, "around the app")
  suite(world, "as the server's middleware")
}
