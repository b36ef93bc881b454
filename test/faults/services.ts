/** One process of an application, as far as this library is concerned. Knows nothing of vitest: workers use it too. */
import * as TestEdition from "#test-edition"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import type { Redis as Client } from "ioredis"
import { Dlock, PubSubLayer, RedisLayer } from "../../src/index.js"
import * as Separate from "../support/process.js"
import { waitFor } from "../support/redisSpy.js"

/** How long a crashed holder blocks others in these tests, unless one says otherwise. */
export const ttl = 900
export const commandTimeout = 400

export interface ServiceOptions extends Dlock.Options {
  /** Where the subscriber connects, when not where the commands go. */
  readonly messagesUrl?: string | undefined
}

/** One process of an application, as far as this library is concerned. */
export interface Service {
  readonly dlock: Dlock.Service
  readonly commands: Client
  readonly messages: Client
  /** Closes the layer before the test's scope does. */
  readonly close: Effect.Effect<void>
}

/** A layer of the two connections, which may go to different places. */
export const layerAt = (url: string, { messagesUrl = url, ...options }: ServiceOptions = {}) =>
  Separate.layer({ ttl, commandTimeout, ...options }).pipe(
    Layer.provideMerge(
      messagesUrl === url
        ? PubSubLayer.layer
        : Layer.provide(PubSubLayer.layer, RedisLayer.layer({ url: messagesUrl, lazyConnect: true }))
    ),
    Layer.provideMerge(RedisLayer.layer({ url }))
  )

const build = (
  layer: Layer.Layer<Dlock.Dlock | RedisLayer.Redis | PubSubLayer.PubSub, unknown>
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Effect.orDie(Layer.buildWithScope(layer, scope))
    return {
      dlock: Context.get(context, Dlock.Dlock),
      commands: Context.get(context, RedisLayer.Redis).client,
      messages: Context.get(context, PubSubLayer.PubSub).client,
      close: Scope.close(scope, Exit.void)
    }
  })

/** A service that logs nothing, and may still be connecting. */
export const serveCold = (url: string, options?: ServiceOptions): Effect.Effect<Service, never, Scope.Scope> =>
  TestEdition.silent(build(layerAt(url, options)))

/** A service that logs nothing, and is connected. */
export const serve = (url: string, options?: ServiceOptions): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.tap(serveCold(url, options), ({ commands, messages }) => untilConnected(commands, messages))

export const untilConnected = (...clients: ReadonlyArray<Client>): Effect.Effect<unknown> =>
  Effect.promise(() => waitFor(() => clients.every(({ status }) => status === "ready")))

/** A service on clients of the test's own. */
export const serveClients = (commands: Client, messages: Client, options?: Dlock.Options) =>
  TestEdition.silent(build(
    Separate.layer({ ttl, commandTimeout, ...options }).pipe(
      Layer.provideMerge(PubSubLayer.layerClient(messages)),
      Layer.provideMerge(RedisLayer.layerClient(commands))
    )
  ))

/** One line of a log, and all that was said with it. */
export interface Logged {
  readonly level: string
  readonly text: string
}

/** A service whose log is kept. */
export const serveLogged = (url: string, options?: ServiceOptions) =>
  Effect.gen(function*() {
    const lines: Array<Logged> = []
    const keep = ({ annotations, cause, level, message }: TestEdition.Logged) => {
      const said = [message, cause, annotations].flat().map((part) =>
        typeof part === "string" ? part : JSON.stringify(part)
      )
      lines.push({ level, text: said.join(" ") })
    }
    const service = yield* build(layerAt(url, options)).pipe(TestEdition.loggedTo(keep))
    return { ...service, lines }
  })

/** Says which error an exit failed with, or "success", or that it was something else. */
export const tagOf = (exit: Exit.Exit<unknown, { readonly _tag: string }>): string =>
  Exit.match(exit, {
    onSuccess: () => "success",
    onFailure: (cause) =>
      Option.match(Cause.findErrorOption(cause), { onNone: () => Cause.pretty(cause), onSome: ({ _tag }) => _tag })
  })
