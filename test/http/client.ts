/** Which requests of a client share a response, and what it looks like to each. */
import * as Edition from "#http-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as zlib from "node:zlib"
import * as HttpFanout from "../../src/HttpFanout.js"
import { Dlock } from "../../src/index.js"
import type { Seen, World } from "./world.js"
import { bare, listen, processes, until, type Upstream } from "./world.js"

type Options = HttpFanout.RunOptions<HttpClientRequest.HttpClientRequest>
type Request = HttpClientRequest.HttpClientRequest

const bytesOf = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.map(response.arrayBuffer, (buffer) => Buffer.from(buffer))

interface Clients {
  readonly a: HttpClient.HttpClient
  readonly b: HttpClient.HttpClient
  readonly seen: Seen
}

/** What a request failed with, when a response was the reason. */
const refusal = (error: HttpClientError.HttpClientError) => {
  const told = Edition.told(error)
  return told._tag === "ResponseError" ? told : assert.fail(told._tag)
}

/** Two processes, and how to ask from them. */
const twoClients = (
  world: World,
  options?: Options,
  base: Effect.Effect<HttpClient.HttpClient> = bare
): Effect.Effect<Clients, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { seen, services } = yield* processes(world, 2)
    const plain = yield* base
    const clients = yield* Effect.forEach(
      services,
      (dlock) => HttpFanout.client(options)(plain).pipe(Effect.provideService(Dlock.Dlock, dlock))
    )
    const [a, b] = clients as [HttpClient.HttpClient, HttpClient.HttpClient]
    return { a, b, seen }
  })

/** The first request is at the upstream; then the others take part in its flight; then it is answered. */
const together = (
  clients: Clients,
  upstream: Upstream,
  request: Request,
  others: ReadonlyArray<Request> = [request]
) =>
  Effect.gen(function*() {
    const { a, b, seen } = clients
    const calls = seen.ids.length
    const first = yield* Effect.forkChild(a.execute(request))
    yield* until("the leader asks", () => upstream.requests.length > 0)
    const here = yield* Effect.forEach(others, (one) => Effect.forkChild(a.execute(one)))
    const there = yield* Effect.forEach(others, (one) => Effect.forkChild(b.execute(one)))
    yield* until("all take part", () => seen.ids.length === calls + 1 + 2 * others.length && seen.joins >= 2)
    yield* upstream.open
    return [first, ...here, ...there]
  })

/** Two requests, one after the other is at the upstream: how often it is asked. */
const asksOf = (world: World, one: (url: string) => Request, other: (url: string) => Request, options?: Options) =>
  Effect.gen(function*() {
    const clients = yield* twoClients(world, options)
    const upstream = yield* listen((_, response) => void response.end("x"))
    const first = yield* Effect.forkChild(clients.a.execute(one(upstream.url)))
    yield* until("the first asks", () => upstream.requests.length === 1)
    const second = yield* Effect.forkChild(clients.b.execute(other(upstream.url)))
    yield* until("the second asks, or takes part", () => upstream.requests.length === 2 || clients.seen.joins === 2)
    // A join that was answered leads, and asks, or follows, and does not.
    yield* upstream.open
    const responses = yield* Effect.forEach([first, second], Fiber.join)
    for (const response of responses) yield* response.text
    return upstream.requests.length
  })

const { get, head } = HttpClientRequest
const { setHeader } = HttpClientRequest

/** Of what says who asks, or what for, some. */
const tellingApart = [
  "Authorization",
  "Cookie",
  "Proxy-Authorization",
  "Private-Token",
  "X-Api-Key",
  "X-Tenant-Id",
  "X-Forwarded-For",
  "Accept",
  "If-None-Match",
  "Cache-Control",
  "Baggage",
  "Anything-Else"
]

/** `fetch` sends these by itself. */
const notForFetch = ["connection", "keep-alive", "proxy-connection", "te"]

const differ: ReadonlyArray<readonly [string, (url: string) => Request, (url: string) => Request, Options?]> = [
  ["another path", (url) => get(`${url}/a`), (url) => get(`${url}/b`)],
  ["another query", (url) => get(`${url}/?a=1`), (url) => get(`${url}/?a=2`)],
  ["another order of the query", (url) => get(`${url}/?a=1&b=2`), (url) => get(`${url}/?b=2&a=1`)],
  ["another method", (url) => get(url), (url) => head(url)],
  ["another method under one key", (url) => get(url), (url) => head(url), { key: () => "one" }],
  ...tellingApart.map((name) =>
    [
      `another ${name}`,
      (url: string) => get(url).pipe(setHeader(name, "a")),
      (url: string) => get(url).pipe(setHeader(name, "b"))
    ] as const
  ),
  ["a header that the other has not", (url) => get(url).pipe(setHeader("Accept", "")), (url) => get(url)],
  [
    "the same values of other headers",
    (url) => get(url).pipe(setHeader("a", "x"), setHeader("b", "y")),
    (url) => get(url).pipe(setHeader("a", "y"), setHeader("b", "x"))
  ],
  [
    "one of the headers in `ignore`, and of one beside it,",
    (url) => get(url).pipe(setHeader("X-Seen", "a"), setHeader("X-Seen-By", "a")),
    (url) => get(url).pipe(setHeader("X-Seen", "b"), setHeader("X-Seen-By", "b")),
    { ignore: ["X-Seen"] }
  ],
  [
    "the same Range",
    (url) => get(url).pipe(setHeader("Range", "bytes=0-1")),
    (url) => get(url).pipe(setHeader("range", "bytes=0-1"))
  ],
  [
    "no-store",
    (url) => get(url).pipe(setHeader("Cache-Control", "max-age=0, no-store")),
    (url) => get(url).pipe(setHeader("Cache-Control", "max-age=0, no-store"))
  ],
  ["another method than GET and HEAD", (url) => HttpClientRequest.put(url), (url) => HttpClientRequest.put(url)],
  ["none as its key", (url) => get(url), (url) => get(url), { key: () => Option.none() }]
]

const same: ReadonlyArray<readonly [string, (url: string) => Request, (url: string) => Request, Options?]> = [
  ["parameters that were added elsewhere", (url) => get(`${url}/?a=1`), (url) => get(url, { urlParams: { a: 1 } })],
  ["another fragment", (url) => get(`${url}/#a`), (url) => get(`${url}/#b`)],
  ...tellingApart.map((name) =>
    [
      `the same ${name}`,
      (url: string) => get(url).pipe(setHeader(name, "a"), setHeader("Accept-Language", "no")),
      (url: string) => get(url).pipe(setHeader("accept-language", "no"), setHeader(name.toLowerCase(), "a"))
    ] as const
  ),
  ...HttpFanout.harmlessHeaders.filter((name) => !notForFetch.includes(name)).map((name) =>
    [`another ${name}`, (url: string) => get(url).pipe(setHeader(name, "a")), (url: string) => get(url)] as const
  ),
  [
    "another value of headers in `ignore`",
    (url) => get(url).pipe(setHeader("X-Seen", "a"), setHeader("Cookie", "a"), setHeader("X-Forwarded-For", "a")),
    (url) => get(url).pipe(setHeader("x-seen", "b"), setHeader("X-Forwarded-Port", "b")),
    { ignore: ["x-SEEN", "cookie", /^x-forwarded-/g] }
  ],
  ["the same `key`", (url) => get(`${url}/a`).pipe(setHeader("Cookie", "a")), (url) => get(`${url}/b`), {
    key: () => `k${"e".repeat(5000)}y\ud800`
  }]
]

export const clientSuite = (world: World) => {
  const test = it.live

  describe(`requests share a response: ${world.name}`, () => {
    test("100 identical requests of two processes reach the upstream once", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world)
        const upstream = yield* listen((_, response) => {
          response.writeHead(200, { "x-custom": "yes", "content-type": "application/json", "keep-alive": "timeout=9" })
          response.end(`{"n":1}`)
        })
        const request = get(`${upstream.url}/${"long/".repeat(400)}`)
        const fibers = yield* together(clients, upstream, request, Array.from({ length: 50 }, () => request))
        for (const fiber of fibers) {
          const response = yield* Fiber.join(fiber)
          assert.strictEqual(response.status, 200)
          assert.strictEqual(response.headers["x-custom"], "yes")
          assert.isUndefined(response.headers["connection"])
          assert.isUndefined(response.headers["keep-alive"])
          assert.strictEqual(response.request, request)
          assert.deepStrictEqual(yield* response.json, { n: 1 })
        }
        assert.strictEqual(fibers.length, 101)
        assert.strictEqual(upstream.requests.length, 1)
      }))

    for (const [name, one, other, options] of same) {
      test(`${name} makes no difference`, () =>
        Effect.map(asksOf(world, one, other, options), (asks) => assert.strictEqual(asks, 1)))
    }
    for (const [name, one, other, options] of differ) {
      test(`${name} shares nothing`, () =>
        Effect.map(asksOf(world, one, other, options), (asks) => assert.strictEqual(asks, 2)))
    }

    test("no secret is part of an id", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world)
        const upstream = yield* listen((_, response) => void response.end(), true)
        const withSecret = (header: string) => clients.a.execute(get(upstream.url).pipe(setHeader(header, "hush")))
        yield* withSecret("Authorization")
        yield* withSecret("x-own-secret")
        assert.strictEqual(new Set(clients.seen.ids).size, 2)
        for (const id of clients.seen.ids) assert.notInclude(id, "hush")
      }))

    test("a path that was put before the url by the client is part of it", () =>
      Effect.gen(function*() {
        const { services, seen } = yield* processes(world, 1)
        const upstream = yield* listen((_, response) => void response.end(), true)
        const client = yield* Effect.map(bare, HttpClient.mapRequest(HttpClientRequest.prependUrl(upstream.url))).pipe(
          Effect.flatMap(HttpFanout.client()),
          Effect.map(HttpClient.mapRequest(HttpClientRequest.appendUrl("/after"))),
          Effect.provideService(Dlock.Dlock, services[0]!)
        )
        yield* client.get("/before")
        assert.deepStrictEqual(upstream.requests, ["GET /before/after"])
        assert.include(seen.ids[0], `${upstream.url}/before/after`)
      }))

    test("a client that was guarded twice does not wait for itself", () =>
      Effect.gen(function*() {
        const { services } = yield* processes(world, 1)
        const upstream = yield* listen((_, response) => void response.end("x"), true)
        const client = yield* bare.pipe(
          Effect.flatMap(HttpFanout.client()),
          Effect.flatMap(HttpFanout.client()),
          Effect.provideService(Dlock.Dlock, services[0]!)
        )
        assert.strictEqual(yield* Effect.flatMap(client.get(upstream.url), (_) => _.text), "x")
        assert.strictEqual(upstream.requests.length, 1)
      }))

    test("what is kept answers later requests, but neither a 500 nor one that wants it fresh", () =>
      Effect.gen(function*() {
        const { a, b } = yield* twoClients(world, { keep: "1 minute" })
        const upstream = yield* listen((request, response) => {
          response.statusCode = request.url === "/500" ? 500 : 200
          response.end("x")
        }, true)
        for (const path of ["/200", "/500"]) {
          yield* a.get(upstream.url + path)
          yield* b.get(upstream.url + path)
        }
        assert.deepStrictEqual(upstream.requests, ["GET /200", "GET /500", "GET /500"])
        yield* b.get(`${upstream.url}/200`, { headers: { "cache-control": "no-cache" } })
        assert.strictEqual(upstream.requests.length, 4)
      }))
  })

  describe(`a response is the same for all: ${world.name}`, () => {
    const binary = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7 + (i >> 8)) % 256))

    test("binary bytes are equal, and nobody can change another's", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world)
        const upstream = yield* listen((_, response) => void response.end(binary))
        for (const fiber of yield* together(clients, upstream, get(upstream.url))) {
          const bytes = yield* bytesOf(yield* Fiber.join(fiber))
          assert.isTrue(bytes.equals(binary))
          bytes.fill(0)
        }
        assert.strictEqual(upstream.requests.length, 1)
      }))

    test("a body that fetch has decoded says nothing of its encoding any more", () =>
      Effect.gen(function*() {
        const packed = zlib.gzipSync(binary)
        for (const length of [{ "content-length": String(packed.length) }, {}]) {
          const clients = yield* twoClients(world)
          const upstream = yield* listen((_, response) => {
            response.writeHead(200, { "content-encoding": "gzip", ...length })
            response.end(packed)
          })
          for (const fiber of yield* together(clients, upstream, get(upstream.url))) {
            const response = yield* Fiber.join(fiber)
            assert.isUndefined(response.headers["content-encoding"])
            assert.isUndefined(response.headers["content-length"])
            assert.isTrue((yield* bytesOf(response)).equals(binary))
          }
        }
      }))

    test("a body that the client did not decode keeps its encoding", () =>
      Effect.gen(function*() {
        const packed = zlib.gzipSync(binary)
        const clients = yield* twoClients(world)
        // fetch decodes nothing of an encoding that it does not know.
        const upstream = yield* listen((_, response) => {
          response.writeHead(200, { "content-encoding": "own", "content-length": String(packed.length) })
          response.end(packed)
        })
        for (const fiber of yield* together(clients, upstream, get(upstream.url))) {
          const response = yield* Fiber.join(fiber)
          assert.strictEqual(response.headers["content-encoding"], "own")
          assert.isTrue((yield* bytesOf(response)).equals(packed))
        }
      }))

    test("HEAD has the headers of a large body and no body", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world)
        const upstream = yield* listen((_, response) => {
          response.writeHead(200, { "content-length": "123456789", "content-encoding": "gzip" })
          response.end()
        })
        for (const fiber of yield* together(clients, upstream, head(upstream.url))) {
          const response = yield* Fiber.join(fiber)
          assert.strictEqual(response.headers["content-length"], "123456789")
          assert.strictEqual(response.headers["content-encoding"], "gzip")
          assert.strictEqual(yield* response.text, "")
        }
        assert.strictEqual(upstream.requests.length, 1)
      }))

    for (const status of [204, 304, 404, 500, 503]) {
      test(`a ${status} is a value`, () =>
        Effect.gen(function*() {
          const clients = yield* twoClients(world)
          const upstream = yield* listen((_, response) => {
            response.statusCode = status
            response.end(status < 400 ? undefined : `no ${status}`)
          })
          for (const fiber of yield* together(clients, upstream, get(upstream.url))) {
            const response = yield* Fiber.join(fiber)
            assert.strictEqual(response.status, status)
            assert.strictEqual(yield* response.text, status < 400 ? "" : `no ${status}`)
          }
          assert.strictEqual(upstream.requests.length, 1)
        }))
    }
  })

  describe(`an error is everybody's: ${world.name}`, () => {
    test("a broken connection is a RequestError with everybody's own request", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world)
        const upstream = yield* listen((request) => void request.socket.destroy())
        const other = get(upstream.url).pipe(setHeader("user-agent", "other"))
        const fibers = yield* together(clients, upstream, get(upstream.url), [other])
        for (const [i, fiber] of fibers.entries()) {
          const error = yield* Effect.flip(Fiber.join(fiber))
          const { _tag, cause, reason } = Edition.told(error)
          assert.deepStrictEqual([_tag, reason], ["RequestError", "Transport"])
          assert.strictEqual(error.request === other, i > 0)
          assert.strictEqual(error.cause, cause)
          assert.instanceOf(cause, Error)
          assert.strictEqual((cause as any).message, "fetch failed")
          assert.isString((cause as any).cause.code)
        }
        assert.strictEqual(upstream.requests.length, 1)
      }))

    test("a refused connection is a RequestError", () =>
      Effect.gen(function*() {
        const { a, b } = yield* twoClients(world)
        const scope = yield* Scope.make()
        const { url } = yield* Scope.provide(listen(() => {}), scope)
        yield* Scope.close(scope, Exit.void)
        const errors = yield* Effect.all([a.get(url), a.get(url), b.get(url)].map(Effect.flip), { concurrency: 3 })
        for (const error of errors) {
          assert.strictEqual(Edition.told(error)._tag, "RequestError")
          assert.strictEqual((error.cause as any).cause.code, "ECONNREFUSED")
        }
      }))

    test("a status that the client refuses is a ResponseError with its body", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world, {}, Effect.map(bare, HttpClient.filterStatusOk))
        const upstream = yield* listen((_, response) => {
          response.statusCode = 418
          response.end("teapot")
        })
        for (const fiber of yield* together(clients, upstream, get(upstream.url))) {
          const error = refusal(yield* Effect.flip(Fiber.join(fiber)))
          assert.strictEqual(error.reason, "StatusCode")
          assert.strictEqual(error.response.status, 418)
          assert.strictEqual(yield* error.response.text, "teapot")
        }
        assert.strictEqual(upstream.requests.length, 1)
      }))

    test("a body that breaks off is a ResponseError", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world)
        const upstream = yield* listen((_, response) => {
          response.writeHead(200, { "content-length": "10" })
          response.write("12345", () => response.destroy())
        })
        for (const fiber of yield* together(clients, upstream, get(upstream.url))) {
          const error = refusal(yield* Effect.flip(Fiber.join(fiber)))
          assert.strictEqual(error.reason, "Decode")
          assert.strictEqual(error.response.status, 200)
        }
        assert.strictEqual(upstream.requests.length, 1)
      }))
  })

  describe(`a response is for one: ${world.name}`, () => {
    const everybodyAsks = (answer: Parameters<typeof listen>[0], options?: Options) =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world, options)
        const upstream = yield* listen(answer)
        const fibers = yield* together(clients, upstream, get(upstream.url))
        const responses = yield* Effect.forEach(fibers, Fiber.join)
        assert.strictEqual(upstream.requests.length, fibers.length, "the leader has its own already")
        return responses
      })

    test("with Set-Cookie everybody asks, and gets a cookie of their own", () =>
      Effect.gen(function*() {
        let n = 0
        const responses = yield* everybodyAsks((_, response) => {
          response.setHeader("set-cookie", `id=${++n}`)
          response.end("x")
        })
        const cookies = responses.map((response) => response.headers["set-cookie"])
        assert.sameMembers(cookies, ["id=1", "id=2", "id=3"])
      }))

    for (const control of ["private, max-age=9", "no-store"]) {
      test(`with Cache-Control: ${control} everybody asks`, () =>
        everybodyAsks((_, response) => {
          response.setHeader("cache-control", control)
          response.end("x")
        }))
    }

    test("also as an error: the one whose request it was has it already", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world, {}, Effect.map(bare, HttpClient.filterStatusOk))
        const upstream = yield* listen((_, response) => {
          response.writeHead(503, { "cache-control": "no-store" })
          response.end("down")
        })
        const fibers = yield* together(clients, upstream, get(upstream.url))
        for (const fiber of fibers) {
          const error = refusal(yield* Effect.flip(Fiber.join(fiber)))
          assert.strictEqual(error.response.status, 503)
          assert.strictEqual(yield* error.response.text, "down")
        }
        assert.strictEqual(upstream.requests.length, fibers.length)
      }))

    test("with Set-Cookie also when the client cannot read it: nobody gets another's cookie", () =>
      Effect.gen(function*() {
        const decoding = HttpClient.transformResponse(Effect.tap((response) => response.json))
        const clients = yield* twoClients(world, {}, Effect.map(bare, decoding))
        let n = 0
        const upstream = yield* listen((_, response) => {
          response.setHeader("set-cookie", `id=${++n}`)
          response.end("no JSON")
        })
        const fibers = yield* together(clients, upstream, get(upstream.url))
        const cookies = yield* Effect.forEach(
          fibers,
          (fiber) =>
            Effect.map(
              Effect.flip(Fiber.join(fiber)),
              (error) => refusal(error).response.headers["set-cookie"]
            )
        )
        assert.sameMembers(cookies, ["id=1", "id=2", "id=3"])
      }))

    for (const name of ["user-agent", "cookie"]) {
      test(`by Vary: ${name}, which is ignored, who would have got another one asks; who would not does not`, () =>
        Effect.gen(function*() {
          const clients = yield* twoClients(world, { ignore: ["Cookie"] })
          const upstream = yield* listen((request, response) => {
            response.setHeader("vary", `Accept-Language, ${name}`)
            response.end(request.headers[name])
          })
          const as = (who: string) => get(upstream.url).pipe(setHeader(name, who))
          const fibers = yield* together(clients, upstream, as("one"), [as("one"), as("other")])
          const texts = yield* Effect.forEach(fibers, (fiber) => Effect.flatMap(Fiber.join(fiber), (_) => _.text))
          assert.deepStrictEqual(texts, ["one", "one", "other", "one", "other"])
          assert.strictEqual(upstream.requests.length, 3)
        }))
    }

    test("by its encoding: who cannot read it asks", () =>
      Effect.gen(function*() {
        const clients = yield* twoClients(world)
        const upstream = yield* listen((request, response) => {
          const encoding = request.headers["accept-encoding"]
          if (encoding === "own") response.setHeader("content-encoding", encoding)
          response.end(encoding)
        })
        const reading = (encoding: string) => get(upstream.url).pipe(setHeader("accept-encoding", encoding))
        const fibers = yield* together(clients, upstream, reading("own"), [reading("own"), reading("identity")])
        const texts = yield* Effect.forEach(fibers, (fiber) => Effect.flatMap(Fiber.join(fiber), (_) => _.text))
        assert.deepStrictEqual(texts, ["own", "own", "identity", "own", "identity"])
        assert.strictEqual(upstream.requests.length, 3)
      }))

    for (const length of ["that says so", "that does not say so"]) {
      test(`a body over the cap ${length} is passed through, whole and once each`, () =>
        Effect.gen(function*() {
          const body = Buffer.alloc(300_000, "0123456789")
          const responses = yield* everybodyAsks((_, response) => {
            if (length === "that says so") response.setHeader("content-length", body.length)
            response.write(body.subarray(0, 100_000))
            response.end(body.subarray(100_000))
          }, { maxBodyBytes: 50_000 })
          for (const response of responses) assert.isTrue((yield* bytesOf(response)).equals(body))
        }))
    }

    test("an event stream is passed through while it goes on", () =>
      Effect.gen(function*() {
        const responses = yield* everybodyAsks((_, response) => {
          response.setHeader("content-type", "text/event-stream; charset=utf-8")
          response.write("data: 1\n\n")
        })
        for (const response of responses) {
          const first = yield* response.stream.pipe(Stream.decodeText(), Stream.runHead)
          assert.strictEqual(Option.getOrUndefined(first), "data: 1\n\n")
        }
      }))

    test("a body that does not end in time is passed through, with all that was read before", () =>
      Effect.gen(function*() {
        const rest: Array<() => void> = []
        const responses = yield* everybodyAsks((_, response) => {
          response.write("one ")
          rest.push(() => response.end("two"))
        }, { maxBodyTime: "50 millis" })
        for (const go of rest) go()
        for (const response of responses) assert.strictEqual(yield* response.text, "one two")
      }))
  })

  describe(`a caller leaves alone: ${world.name}`, () => {
    test("credentials that the program gives to fetch itself are credentials", () =>
      Effect.gen(function*() {
        const { a, b, seen } = yield* twoClients(world)
        const upstream = yield* listen((request, response) => void response.end(request.headers.authorization), true)
        const as = (client: HttpClient.HttpClient, who: string) =>
          client.get(upstream.url).pipe(
            Effect.flatMap((response) => response.text),
            Effect.provideService(FetchHttpClient.RequestInit, { headers: { Authorization: who } })
          )
        assert.deepStrictEqual(yield* Effect.all([as(a, "one"), as(b, "two")], { concurrency: 2 }), ["one", "two"])
        assert.strictEqual(new Set(seen.ids).size, 2)
        for (const id of seen.ids) assert.notInclude(id, "one")
      }))

    test("what else the program gives to fetch itself counts, and an object in it is for one", () =>
      Effect.gen(function*() {
        const { a, seen } = yield* twoClients(world)
        const upstream = yield* listen((_, response) => void response.end("x"), true)
        const having = (init: RequestInit) =>
          Effect.provideService(a.get(upstream.url), FetchHttpClient.RequestInit, init)
        yield* having({ redirect: "manual", mode: "cors" })
        yield* having({ mode: "cors", redirect: "manual" })
        yield* having({ redirect: "follow", mode: "cors" })
        yield* having({})
        assert.strictEqual(new Set(seen.ids).size, 3)
        yield* having({ signal: new AbortController().signal })
        yield* having({ credentials: "include" })
        assert.strictEqual(seen.ids.length, 4)
        assert.strictEqual(upstream.requests.length, 6)
      }))

    test("a header that the program gives to fetch itself is one that a response may vary by", () =>
      Effect.gen(function*() {
        const { a, b, seen } = yield* twoClients(world)
        const upstream = yield* listen((request, response) => {
          response.setHeader("vary", "user-agent")
          response.end(request.headers["user-agent"])
        })
        const inWords = (client: HttpClient.HttpClient, agent: string) =>
          client.get(upstream.url).pipe(
            Effect.flatMap((response) => response.text),
            Effect.provideService(FetchHttpClient.RequestInit, { headers: { "User-Agent": agent } }),
            Effect.forkChild
          )
        const one = yield* inWords(a, "de")
        yield* until("the first asks", () => upstream.requests.length === 1)
        const other = yield* inWords(b, "fr")
        yield* until("both take part", () => seen.joins === 2)
        yield* upstream.open
        assert.deepStrictEqual([yield* Fiber.join(one), yield* Fiber.join(other)], ["de", "fr"])
      }))

    test("a finalizer of a fiber that is interrupted may ask", () =>
      Effect.gen(function*() {
        const { a } = yield* twoClients(world)
        const upstream = yield* listen((_, response) => void response.end("x"), true)
        let runs = false
        const forever = Effect.andThen(Effect.sync(() => void (runs = true)), Effect.never)
        const fiber = yield* Effect.forkChild(Effect.ensuring(forever, Effect.orDie(a.get(upstream.url))))
        yield* until("it runs", () => runs)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(upstream.requests.length, 1)
      }))

    test("one caller's timeout ends nobody else's request, its scope neither", () =>
      Effect.gen(function*() {
        const { a, b, seen } = yield* twoClients(world)
        const upstream = yield* listen((_, response) => void response.end("x"))
        const scoped = HttpClient.withScope(a)
        const first = yield* Effect.forkChild(Effect.scoped(scoped.get(upstream.url)))
        yield* until("the leader asks", () => upstream.requests.length === 1)
        const others = [yield* Effect.forkChild(a.get(upstream.url)), yield* Effect.forkChild(b.get(upstream.url))]
        yield* until("all take part", () => seen.ids.length === 3 && seen.joins === 2)
        yield* Fiber.interrupt(first)
        yield* upstream.open
        for (const fiber of others) {
          assert.strictEqual(yield* Effect.flatMap(Fiber.join(fiber), (_) => _.text), "x")
        }
        assert.strictEqual(upstream.requests.length, 1)
      }))

    test("when the last one leaves, the request is interrupted", () =>
      Effect.gen(function*() {
        const { a } = yield* twoClients(world)
        const upstream = yield* listen(() => {})
        const fiber = yield* Effect.forkChild(a.get(upstream.url))
        yield* until("it asks", () => upstream.requests.length === 1)
        yield* Fiber.interrupt(fiber)
        yield* until("it is cut off", () => upstream.aborted() === 1)
      }))

    test("a stream whose caller has left is cut off", () =>
      Effect.gen(function*() {
        const { a, seen } = yield* twoClients(world, { maxBodyBytes: 1000 })
        const upstream = yield* listen((_, response) => {
          response.write("0".repeat(5000))
        })
        const first = yield* Effect.forkChild(a.get(upstream.url))
        yield* until("the leader asks", () => upstream.requests.length === 1)
        const second = yield* Effect.forkChild(a.get(upstream.url))
        yield* until("both take part", () => seen.ids.length === 2)
        yield* Fiber.interrupt(first)
        yield* upstream.open
        yield* Fiber.join(second)
        yield* until("the first is cut off", () => upstream.aborted() === 1)
      }))
  })
}
