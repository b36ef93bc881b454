/** An upstream that counts what it is asked, and its followers on Redis. */
import * as Effect from "effect/Effect"
import * as http from "node:http"
import type { AddressInfo } from "node:net"
import { clientOf } from "./support.js"

export interface Upstream {
  readonly url: string
  readonly asked: () => number
  /** Those that wait. */
  readonly answer: () => void
  readonly close: (closed: () => void) => void
}

/** Answers with the number of the request, when it is told to. */
export const upstream = Effect.acquireRelease(
  Effect.callback<Upstream>((done) => {
    const waiting: Array<() => void> = []
    let asked = 0
    const server = http.createServer((_, response) => {
      const body = `answer ${++asked}`
      waiting.push(() => void response.end(body))
    })
    server.listen(0, "127.0.0.1", () =>
      done(Effect.succeed({
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        asked: () => asked,
        answer: () => waiting.splice(0).forEach((go) => go()),
        close: (closed) => {
          server.close(closed)
          server.closeAllConnections()
        }
      })))
  }),
  ({ close }) => Effect.callback<void>((done) => close(() => done(Effect.void)))
)

/** How many processes wait for the request of another. */
export const followersOf = (url: string) =>
  Effect.map(clientOf(url), (admin) => async () => {
    const [key] = await admin.keys("dlock:flight:*:followers")
    return key === undefined ? 0 : await admin.zcard(key)
  })
