/**
 * One listener on a client for each event, however many layers share the client. Node warns of a leak from the eleventh
 * on, and the limit of a client that belongs to the caller is the caller's.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Client } from "./driver.js"

interface Events {
  readonly connect: () => void
  readonly ready: () => void
  readonly close: () => void
  readonly end: () => void
  readonly error: (error: Error) => void
  readonly select: (database: number) => void
  readonly message: (channel: string, payload: string) => void
}

type Handler = (...args: ReadonlyArray<unknown>) => void

interface Relay {
  readonly handlers: Set<Handler>
  readonly listener: Handler
}

const relays = new WeakMap<Client, Map<string, Relay>>()

const relaysOf = (client: Client): Map<string, Relay> => {
  const found = relays.get(client) ?? new Map<string, Relay>()
  relays.set(client, found)
  return found
}

const add = (client: Client, event: string, handler: Handler): void => {
  const found = relaysOf(client).get(event)
  if (found !== undefined) return void found.handlers.add(handler)
  const handlers = new Set([handler])
  const listener: Handler = (...args) => {
    for (const handler of [...handlers]) handler(...args)
  }
  relaysOf(client).set(event, { handlers, listener })
  client.on(event, listener)
}

const remove = (client: Client, event: string, handler: Handler): void => {
  const found = relaysOf(client).get(event)
  if (found === undefined) return
  found.handlers.delete(handler)
  if (found.handlers.size > 0) return
  relaysOf(client).delete(event)
  client.off(event, found.listener)
}

/** Until the scope closes. */
export const listen = (client: Client, events: Partial<Events>): Effect.Effect<void, never, Scope.Scope> => {
  // SAFETY: the driver emits each event with the arguments that `Events` says.
  const handlers = Object.entries(events) as ReadonlyArray<[string, Handler]>
  const each = (change: typeof add) =>
    Effect.sync(() => handlers.forEach(([event, handler]) => change(client, event, handler)))
  return Effect.acquireRelease(each(add), () => each(remove))
}
