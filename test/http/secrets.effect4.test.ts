/** Of a url that Effect knows to hold a secret nothing is written down: its request goes its own way. Effect 3 knows of none. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as UrlParams from "effect/http/UrlParams"
import * as Redacted from "effect/Redacted"
import * as HttpFanout from "../../src/HttpFanout.js"
import { Dlock } from "../../src/index.js"
import * as Request from "../../src/internal/http/request.js"
import * as Server from "../../src/internal/http/server.js"
import { bare, listen, processes, worlds } from "./world.js"

const { get } = HttpClientRequest
const hush = Redacted.make("hush")

const secret: Record<string, (url: string) => HttpClientRequest.HttpClientRequest> = {
  "a parameter that is redacted": (url) => get(url, { urlParams: { token: hush } }),
  "one of several that is": (url) => get(`${url}/?a=1`, { urlParams: { b: "2", token: hush, c: "3" } }),
  "a nested one": (url) => get(url, { urlParams: { filter: { token: hush } } }),
  "a signature": (url) => get(`${url}/file?X-Amz-Signature=hush&X-Amz-Date=1`),
  "a signature in other letters, behind a fragment's sign": (url) => get(`${url}/file?a=1&SI%67=hush#a`),
  "a signature in a parameter that was added": (url) => get(url, { urlParams: { Signature: "hush" } }),
  "a parameter whose name the program has said": (url) => get(`${url}/?password=hush`)
}

for (const world of worlds) {
  const guarded = (options?: HttpFanout.RunOptions<HttpClientRequest.HttpClientRequest>) =>
    Effect.gen(function*() {
      const { seen, services: [dlock] } = yield* processes(world, 1)
      assert(dlock !== undefined)
      const client = yield* Effect.flatMap(bare, HttpFanout.client(options)).pipe(
        Effect.provideService(Dlock.Dlock, dlock)
      )
      return { client, seen }
    })
  const names = Effect.provideService(UrlParams.CurrentRedactedNames, ["X-Amz-Signature", "signature", "sig", /^pass/])

  for (const [name, request] of Object.entries(secret)) {
    it.live(`${name} in a url is sent, and not written down: ${world.name}`, () =>
      Effect.gen(function*() {
        const { client, seen } = yield* guarded()
        const upstream = yield* listen((_, response) => void response.end("x"), true)
        const response = yield* client.execute(request(upstream.url))
        assert.strictEqual(yield* response.text, "x")
        assert.match(upstream.requests.join(), /hush/)
        assert.deepStrictEqual(seen.ids, [])
      }).pipe(names))

    it.live(`${name} in a url does not matter where a key is given: ${world.name}`, () =>
      Effect.gen(function*() {
        const { client, seen } = yield* guarded({ key: () => "one" })
        const upstream = yield* listen((_, response) => void response.end("x"), true)
        yield* client.execute(request(upstream.url))
        assert.match(upstream.requests.join(), /hush/)
        assert.strictEqual(seen.ids.length, 1)
        assert.notInclude(seen.ids[0], "hush")
      }).pipe(names))
  }

  it.live(`other parameters are no secret: ${world.name}`, () =>
    Effect.gen(function*() {
      const { client, seen } = yield* guarded()
      const upstream = yield* listen((_, response) => void response.end("x"), true)
      yield* client.execute(get(`${upstream.url}/?design=1`, { urlParams: { signed: "yes" } }))
      assert.include(seen.ids[0], "?design=1&signed=yes")
    }))
}

it.effect("a signed url that a server is asked for is not written down either", () =>
  Effect.gen(function*() {
    const idOf = (path: string) => {
      const request = HttpServerRequest.fromWeb(new globalThis.Request(`http://shop.example${path}`))
      return Effect.flatMap(
        Server.asked(request, undefined),
        (asked) => Request.share("http-server/2", asked, Request.ignoring([]))
      )
    }
    assert.isTrue((yield* idOf("/file?sig=hush"))._tag === "None")
    assert.isTrue((yield* idOf("/file?a=1&X-Goog-Signature=hush"))._tag === "None")
    assert.isTrue((yield* idOf("/file?design=1"))._tag === "Some")
  }))
