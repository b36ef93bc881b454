/**
 * What a Redis server saw: commands by who issued them, messages published, keys that exist. Counts are of the whole
 * server, so give a test that counts a server of its own.
 */
import * as Effect from "effect/Effect"
import { Redis } from "ioredis"
import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { inspect } from "node:util"

/** Something to run while the server is watched. */
export type Body<A> = Effect.Effect<A, unknown> | (() => PromiseLike<A> | A)

/** How often each command was called, by lower case name: `{ evalsha: 2 }`. */
export type Counts = Record<string, number>

const run = async <A>(body: Body<A>): Promise<A> => Effect.isEffect(body) ? Effect.runPromise(body) : body()

const withClient = async <A>(url: string, use: (client: Redis) => Promise<A>): Promise<A> => {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
  client.on("error", () => {})
  try {
    await client.connect()
    return await use(client)
  } finally {
    client.disconnect()
  }
}

const parseCommandStats = (info: string): Counts =>
  Object.fromEntries(
    [...info.matchAll(/^cmdstat_([^:\r\n]+):calls=(\d+)/gm)].map(([, name, calls]) => [name!, Number(calls)])
  )

/** Calls since the server started or was reset, from INFO commandstats. Calls from inside scripts count as well. */
export const commandCounts = (url: string): Promise<Counts> =>
  withClient(url, async (client) => parseCommandStats(await client.info("commandstats")))

/**
 * Calls while the body ran, from INFO commandstats, subcommands as `config|get`. Exact, and includes admin commands and
 * the calls that scripts make inside: `watchCommands` tells those apart. Resets the server's statistics.
 */
export const countCommands = async <A>(
  admin: Redis,
  body: Body<A>
): Promise<{ readonly value: A; readonly counts: Counts }> => {
  await admin.config("RESETSTAT")
  const value = await run(body)
  const { "config|resetstat": resets = 1, ...counts } = parseCommandStats(await admin.info("commandstats"))
  return { value, counts: resets > 1 ? { ...counts, "config|resetstat": resets - 1 } : counts }
}

/** One command as MONITOR shows it. */
export interface SeenCommand {
  readonly command: string
  readonly args: ReadonlyArray<string>
  /** The client's address, or "lua" when a script called it. */
  readonly source: string
}

/** What MONITOR showed while a body ran. */
export interface Watched<A> {
  readonly value: A
  /** Commands that clients issued: an EVALSHA is one. */
  readonly issued: Counts
  /** Commands that scripts called inside. */
  readonly inScripts: Counts
  /** PUBLISH and SPUBLISH, by clients and by scripts. The message is escaped as MONITOR prints it. */
  readonly published: ReadonlyArray<{ readonly channel: string; readonly message: string }>
  /** All of them, in the order of execution. */
  readonly seen: ReadonlyArray<SeenCommand>
}

const countBy = (seen: ReadonlyArray<SeenCommand>): Counts => {
  const counts: Counts = {}
  for (const { command } of seen) counts[command] = (counts[command] ?? 0) + 1
  return counts
}

/**
 * Watches the server by MONITOR while the body runs. Exact: what the server executed before the body ended is in, what
 * came before it is not. MONITOR shows neither admin commands (CONFIG, CLIENT KILL, ACL) nor AUTH and HELLO. It does
 * show what clients say when they connect (INFO, CLIENT SETINFO), so connect before.
 */
export const watchCommands = <A>(url: string, body: Body<A>): Promise<Watched<A>> =>
  withClient(url, async (client) => {
    const monitor = await client.monitor()
    try {
      const seen: Array<SeenCommand> = []
      const marks = new Map<string, () => void>()
      monitor.on("monitor", (_time: string, [command = "", ...args]: ReadonlyArray<string>, source: string) => {
        const mark = command.toLowerCase() === "echo" ? marks.get(args[0] ?? "") : undefined
        if (mark === undefined) seen.push({ command: command.toLowerCase(), args, source })
        else mark()
      })
      // MONITOR shows commands in order, so all before the mark have been seen when the mark is.
      const settled = async () => {
        const mark = randomUUID()
        const shown = new Promise<void>((resolve) => marks.set(mark, resolve))
        await client.echo(mark)
        await shown
      }
      await settled()
      seen.length = 0
      const value = await run(body)
      await settled()
      const published = seen.filter(({ command }) => command === "publish" || command === "spublish")
      return {
        value,
        issued: countBy(seen.filter(({ source }) => source !== "lua")),
        inScripts: countBy(seen.filter(({ source }) => source === "lua")),
        published: published.map(({ args: [channel = "", message = ""] }) => ({ channel, message })),
        seen
      }
    } finally {
      monitor.disconnect()
    }
  })

/** Every key of the database, sorted. */
export const allKeys = (url: string, pattern = "*"): Promise<ReadonlyArray<string>> =>
  withClient(url, async (client) => {
    const keys = new Set<string>()
    for await (const batch of client.scanStream({ match: pattern, count: 1000 })) {
      for (const key of batch) keys.add(key)
    }
    return [...keys].sort()
  })

/**
 * Asks again and again, every few milliseconds, until the answer is accepted (truthy unless told), and returns it.
 * Rejects with the last answer, or the last error, after the timeout, even if the question hangs.
 */
export const waitFor = async <A>(
  question: () => A | PromiseLike<A>,
  timeoutMillis = 5000,
  accepts: (answer: A) => boolean = Boolean
): Promise<A> => {
  const expired = new AbortController()
  const timer = setTimeout(() => expired.abort(), timeoutMillis)
  const expiry = new Promise<"expired">((resolve) => {
    expired.signal.addEventListener("abort", () => resolve("expired"))
  })
  let last: unknown = "no answer"
  const ask = async () => {
    while (!expired.signal.aborted) {
      try {
        const answer = await question()
        if (accepts(answer)) return { answer }
        last = answer
      } catch (error) {
        last = error
      }
      await sleep(5)
    }
    return "expired" as const
  }
  try {
    const outcome = await Promise.race([ask(), expiry])
    if (outcome !== "expired") return outcome.answer
    throw new Error(`Still not so after ${timeoutMillis} ms. Last seen: ${inspect(last)}`, { cause: last })
  } finally {
    clearTimeout(timer)
    expired.abort()
  }
}
