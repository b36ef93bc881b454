/**
 * A TCP proxy on 127.0.0.1 that puts network faults between clients and one Redis: half-open and one-way connections,
 * cuts around a reply, latency, resets, refusal. A fault acts on all connections, or on those a filter has picked. The
 * proxy knows bytes, not the protocol: to it a request is a chunk as the socket delivered it.
 */
import { once } from "node:events"
import * as net from "node:net"
import type { Rule } from "./proxyConnection.js"
import { Connection } from "./proxyConnection.js"

/** Text (ASCII, in any case), exact bytes, or a function: what a chunk sent by a client must contain. */
export type Pattern = string | Buffer | ((chunk: Buffer) => boolean)

/** What becomes of the connections that were stalled. By default both sides are reset, and the bytes held are lost. */
export interface HealOptions {
  /** Deliver the bytes held, late, and go on. Also those of clients that have died since. */
  readonly deliver?: boolean | undefined
  /** Leave them dead for ever: no FIN, no RST. Only new connections work. */
  readonly leaveDead?: boolean | undefined
}

/** The faults, on all connections or on some. Those that last are in force on present and on later connections. */
export interface Faults {
  /** Live connections: accepted, and neither ended nor closed by the client or by us. */
  readonly connections: () => number
  /** Half-open: goes on accepting and reading, forwards nothing in either direction, tells nobody. */
  readonly stall: () => void
  /** Holds only what clients send. */
  readonly stallUp: () => void
  /** Holds only what the server sends. */
  readonly stallDown: () => void
  /** Ends a stall. */
  readonly heal: (options?: HealOptions) => void
  /** Latency each way, in order, on bytes that arrive from now on. Zero ends it. */
  readonly delay: (millis: number) => void
  /** Closes new connections at once. On a filter: each connection when it first matches, before that chunk is sent. */
  readonly refuse: () => void
  /** Ends a refusal. */
  readonly accept: () => void
  /** Resets the present connections (RST), or ends them in good order (FIN). */
  readonly killAll: (options?: { readonly fin?: boolean | undefined }) => void
  /**
   * Cuts one connection at the next chunk from a client that matches. The server gets the chunk and has acted on it
   * (or is gone) when the promise resolves. "request-forwarded": the client gets no further byte, and is cut once the
   * server has acted. "mid-reply": the client gets the first byte that the server sends after the chunk, then the end.
   */
  readonly cutAfter: (pattern: Pattern, when: "request-forwarded" | "mid-reply") => Promise<void>
}

/** A running proxy. */
export interface Proxy extends Faults {
  readonly port: number
  readonly url: string
  /** New connections go to another port of 127.0.0.1 from now on. */
  readonly retarget: (port: number) => void
  /** All connections accepted so far, refused ones too. */
  readonly totalConnections: () => number
  /** Faults for the connections that have sent a chunk which matches, from that chunk on, counted from now on. */
  readonly filter: (pattern: Pattern) => Faults
  /** Faults for the connections that have ever sent a SUBSCRIBE, PSUBSCRIBE or SSUBSCRIBE. */
  readonly onlySubscribers: () => Faults
  /** Destroys all connections and stops listening. A cut that is still waited for rejects. */
  readonly close: () => Promise<void>
}

const matcher = (pattern: Pattern): (chunk: Buffer) => boolean => {
  if (typeof pattern === "function") return pattern
  if (typeof pattern !== "string") return (chunk) => chunk.includes(pattern)
  const text = pattern.toLowerCase()
  return (chunk) => chunk.toString("latin1").toLowerCase().includes(text)
}

const makeRule = (members: Set<Connection> | "all", matches: (chunk: Buffer) => boolean): Rule => ({
  matches,
  members,
  cuts: [],
  holdsUp: false,
  holdsDown: false,
  refuses: false,
  delayMillis: 0
})

const makeFaults = (rule: Rule, live: Set<Connection>): Faults => {
  const mine = () => [...live].filter((connection) => connection.mine().includes(rule))
  return {
    connections: () => mine().filter((connection) => connection.isLive).length,
    stall: () => {
      rule.holdsUp = rule.holdsDown = true
    },
    stallUp: () => {
      rule.holdsUp = true
    },
    stallDown: () => {
      rule.holdsDown = true
    },
    heal: ({ deliver = false, leaveDead = false } = {}) => {
      if (!rule.holdsUp && !rule.holdsDown) return
      rule.holdsUp = rule.holdsDown = false
      for (const connection of mine()) {
        if (leaveDead) connection.isDead = true
        else if (deliver) connection.pump()
        else if (!connection.isDead) connection.close("reset")
      }
    },
    delay: (millis) => {
      rule.delayMillis = millis
    },
    refuse: () => {
      rule.refuses = true
    },
    accept: () => {
      rule.refuses = false
    },
    killAll: ({ fin = false } = {}) => {
      for (const connection of mine()) connection.close(fin ? "fin" : "reset")
    },
    cutAfter: (pattern, when) => {
      const cut = new Promise<void>((done, failed) => {
        rule.cuts.push({ matches: matcher(pattern), when, done, failed })
      })
      cut.catch(() => {}) // nobody has to wait for it
      return cut
    }
  }
}

/** Starts a proxy in front of a port of 127.0.0.1. Without faults it is transparent, half-closes included. */
export const startProxy = async (targetPort: number): Promise<Proxy> => {
  const live = new Set<Connection>()
  let total = 0
  let target = targetPort
  const all = makeRule("all", () => true)
  const subscribers = makeRule(new Set(), (chunk) => /\r\n[ps]?subscribe\r\n/i.test(chunk.toString("latin1")))
  const rules = [all, subscribers]

  const listener = net.createServer({ allowHalfOpen: true }, (client) => {
    total++
    if (all.refuses) {
      client.on("error", () => {})
      client.destroy()
      return
    }
    const server = net.connect({ port: target, host: "127.0.0.1", allowHalfOpen: true })
    live.add(
      new Connection(client, server, rules, (self) => {
        live.delete(self)
        for (const { members } of rules) if (members !== "all") members.delete(self)
      })
    )
  })
  listener.listen({ port: 0, host: "127.0.0.1" })
  await once(listener, "listening")
  const { port } = listener.address() as net.AddressInfo

  return {
    ...makeFaults(all, live),
    port,
    url: `redis://127.0.0.1:${port}`,
    retarget: (port) => {
      target = port
    },
    totalConnections: () => total,
    filter: (pattern) => {
      const rule = makeRule(new Set(), matcher(pattern))
      rules.push(rule)
      return makeFaults(rule, live)
    },
    onlySubscribers: () => makeFaults(subscribers, live),
    close: async () => {
      for (const { cuts } of rules) for (const cut of cuts) cut.failed(new Error("The proxy closed before the cut"))
      for (const connection of live) connection.close("reset")
      if (listener.listening) await new Promise((resolve) => listener.close(resolve))
    }
  }
}
