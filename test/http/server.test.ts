import type { HttpServerRequest } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Option } from "effect"
import * as Request from "../../src/internal/http/request.js"
import * as Server from "../../src/internal/http/server.js"
import { serverSuite, withoutRedis } from "./server.js"
import { worlds } from "./world.js"

for (const world of worlds) serverSuite(world)
withoutRedis()

it.effect("a host is no way to pass for another url: with a slash in it nothing is shared", () =>
  Effect.gen(function*() {
    const idOf = (host: string, originalUrl: string) => {
      // SAFETY: all that is read of a request.
      const request = {
        method: "GET",
        originalUrl,
        headers: { host }
      } as unknown as HttpServerRequest.HttpServerRequest
      const shared = Request.share("http-server/1", Server.asked(request, undefined), [])
      return Effect.map(shared, (shared) => Option.getOrUndefined(shared)?.id)
    }
    assert.isString(yield* idOf("a.example:8080", "/api/users"))
    assert.notStrictEqual(yield* idOf("a", "/b"), yield* idOf("b", "/b"))
    for (const host of ["a/api", "a?x=", "a#", "a b", "a\\api", "user@a"]) {
      assert.isUndefined(yield* idOf(host, "/users"), host)
    }
  }))
