import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Option from "effect/Option"
import * as HttpFanout from "../../src/HttpFanout.js"
import * as Outcome from "../../src/internal/http/outcome.js"
import * as Request from "../../src/internal/http/request.js"
import * as Server from "../../src/internal/http/server.js"
import { serverSuite, withoutRedis } from "./server.js"
import { worlds } from "./world.js"

const idOf = (host: string, originalUrl: string) => {
  // SAFETY: all that is read of a request.
  const request = { method: "GET", originalUrl, headers: { host } } as unknown as HttpServerRequest.HttpServerRequest
  const shared = Effect.flatMap(
    Server.asked(request, undefined),
    (asked) => Request.share("http-server/2", asked, Request.ignoring([]))
  )
  return Effect.map(shared, (shared) => Option.getOrUndefined(shared)?.id)
}

for (const world of worlds) serverSuite(world)
withoutRedis()

it.effect("a host is no way to pass for another url: with a slash in it nothing is shared", () =>
  Effect.gen(function*() {
    assert.isString(yield* idOf("a.example:8080", "/api/users"))
    assert.notStrictEqual(yield* idOf("a", "/b"), yield* idOf("b", "/b"))
    for (const host of ["a/api", "a?x=", "a#", "a b", "a\\api", "user@a"]) {
      assert.isUndefined(yield* idOf(host, "/users"), host)
    }
  }))

it.effect("a url is no way to pass for one with other headers: with a space in it nothing is shared", () =>
  Effect.gen(function*() {
    assert.isString(yield* idOf("a", "/b%20c"))
    for (const url of ["/b c", "/b sha256:0123", "/b\u00a0c", "/b\nc"]) assert.isUndefined(yield* idOf("a", url), url)
  }))

it.effect("headers that are not named in a list are a defect that names the option", () =>
  Effect.gen(function*() {
    for (const ignore of ["cookie", [1], null]) {
      const app = HttpFanout.middleware({ ignore: ignore as never })(Effect.succeed(HttpServerResponse.empty()))
      const exit = yield* Effect.exit(app as Effect.Effect<unknown>)
      assert(Exit.isFailure(exit))
      assert.isTrue(Option.isNone(Cause.findErrorOption(exit.cause)))
      assert.include(String(Cause.squash(exit.cause)), "`ignore`")
    }
  }))

it.effect("of a header that is ignored, and that a response depends on all the same, only a hash is sent to Redis", () =>
  Effect.gen(function*() {
    const { has } = Request.ignoring(["Cookie"])
    const headers = { cookie: "hush", "user-agent": "x", accept: "y" }
    const vary = yield* Outcome.variants({ vary: "Cookie, User-Agent, Accept" }, headers, has)
    assert.deepStrictEqual(vary.map(([name]) => name), ["cookie", "user-agent"])
    assert.notInclude(JSON.stringify(vary), "hush")
    const response = { vary } as Outcome.Response
    assert.isTrue(yield* Outcome.suits(response, headers))
    assert.isFalse(yield* Outcome.suits(response, { ...headers, cookie: "other" }))
    assert.isFalse(yield* Outcome.suits(response, { "user-agent": "x" }))
  }))
