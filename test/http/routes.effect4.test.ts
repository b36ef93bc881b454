/** What only Effect 4 has: a guard in its router, of all routes, of some, and of a single one; and reports of errors. */
import * as TestEdition from "#test-edition"
import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ErrorReporter from "effect/ErrorReporter"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpRouter from "effect/http/HttpRouter"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as HttpFanout from "../../src/HttpFanout.js"
import { Dlock } from "../../src/index.js"
import { processes, until, worlds } from "./world.js"

const shared = HttpFanout.middleware()

type Get = Effect.Effect<HttpServerResponse.HttpServerResponse>
type Routes = Layer.Layer<
  never,
  never,
  Dlock.Dlock | HttpRouter.HttpRouter | HttpRouter.Request<"Requires" | "GlobalRequires", Dlock.Dlock>
>

const guarding: Record<string, (get: Get) => Routes> = {
  "all routes": (get) => Layer.merge(HttpRouter.add("GET", "/", get), HttpRouter.middleware(shared, { global: true })),
  "some routes": (get) => {
    const provided = HttpRouter.middleware<{ provides: Dlock.Dlock }>()(
      Effect.map(Dlock.Dlock, (dlock) => Effect.provideService(Dlock.Dlock, dlock))
    )
    return HttpRouter.add("GET", "/", get).pipe(Layer.provide(HttpRouter.middleware(shared).combine(provided).layer))
  },
  "one route": (get) => HttpRouter.add("GET", "/", shared(get))
}

for (const world of worlds) {
  for (const [which, routes] of Object.entries(guarding)) {
    it.live(`a guard of ${which} shares a run of the handler: ${world.name}`, () =>
      Effect.gen(function*() {
        const { seen, services: [dlock] } = yield* processes(world, 1)
        assert(dlock !== undefined)
        const gate = yield* Latch.make()
        let runs = 0
        const answer = gate.whenOpen(Effect.sync(() => HttpServerResponse.text(`run ${++runs}`)))
        const provided = Layer.succeed(Dlock.Dlock, dlock)
        const { dispose, handler } = HttpRouter.toWebHandler(Layer.provideMerge(routes(answer), provided), {
          disableLogger: true
        })
        yield* Effect.addFinalizer(() => Effect.promise(dispose))
        const ask = () => handler(new Request("http://shop.example/"), Context.make(Dlock.Dlock, dlock))
        const asked = Promise.all([ask(), ask(), ask()])
        yield* until("all take part", () => seen.ids.length === 3 && seen.joins >= 1)
        yield* gate.open
        const texts = yield* Effect.promise(async () => Promise.all((await asked).map((response) => response.text())))
        assert.deepStrictEqual(texts, ["run 1", "run 1", "run 1"])
      }).pipe(TestEdition.silent))
  }

  for (const where of ["around the app", "as the server's middleware"]) {
    it.live(`reporters of errors hear of a failure once, however many ask: ${world.name}, ${where}`, () =>
      Effect.gen(function*() {
        const { seen, services: [dlock] } = yield* processes(world, 1)
        assert(dlock !== undefined)
        const reported: Array<string> = []
        const reporter = ErrorReporter.make(({ error }) => void reported.push(error.message))
        const gate = yield* Latch.make()
        const app = gate.whenOpen(Effect.fail(new Error("no stock")))
        const guard = <E, R>(self: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
          Effect.provideService(shared(self), Dlock.Dlock, dlock)
        const context = yield* Layer.build(ErrorReporter.layer([reporter]))
        const toHandler = HttpEffect.toWebHandlerWith<never, HttpServerRequest.HttpServerRequest>(context)
        const handle = where === "around the app"
          ? toHandler(TestEdition.silent(guard(app)))
          : toHandler(app, guard)
        const asked = Promise.all([1, 2, 3].map(() => handle(new Request("http://shop.example/"))))
        yield* until("all take part", () => seen.ids.length === 3 && seen.joins >= 1)
        yield* gate.open
        const responses = yield* Effect.promise(() => asked)
        assert.deepStrictEqual(responses.map(({ status }) => status), [500, 500, 500])
        assert.deepStrictEqual(reported, ["no stock"])
      }))
  }
}
