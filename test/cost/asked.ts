/** What the library asked of a server, told apart by what it was for. */
import { acquire } from "../../src/internal/redis/acquire.js"
import * as Flights from "../../src/internal/redis/flights.js"
import * as Operations from "../../src/internal/redis/operations.js"
import * as Scripts from "../../src/internal/redis/scripts.js"
import type { Body } from "../support/redisSpy.js"
import { watchCommands } from "../support/redisSpy.js"

const names = new Map([
  [acquire.sha, "acquire"],
  [Scripts.leave.sha, "leave"],
  [Scripts.refresh.sha, "refresh"],
  [Operations.lower.sha, "lower"],
  [Operations.inspect.sha, "inspect"],
  ...[Flights.join, Flights.refreshFlights, Flights.finish, Flights.leaveFlight, Flights.fetch, Flights.refuse]
    .map(({ name, sha }) => [sha, name] as const)
])

/** A refresh of nobody in particular only goes on with what another call could not finish. */
const nameOf = (command: string, [sha = "", keys = "0", ...args]: ReadonlyArray<string>): string => {
  const name = command === "evalsha" ? names.get(sha) ?? command : command
  return name === "refresh" && args.length === Number(keys) + 1 ? "settle" : name
}

/** Commands that clients issued, scripts by their names; and "message" for each that a script published. */
export type Asked = Partial<Record<string, number>>

/** Watches by MONITOR while the body runs: exact, and nothing that scripts call inside counts but messages. */
export const watchAsked = async <A>(
  url: string,
  body: Body<A>
): Promise<{ readonly value: A; readonly asked: Asked }> => {
  const { seen, value } = await watchCommands(url, body)
  const asked: Record<string, number> = {}
  for (const { args, command, source } of seen) {
    const what = nameOf(command, args)
    if (source !== "lua") asked[what] = (asked[what] ?? 0) + 1
    else if (command === "publish") asked["message"] = (asked["message"] ?? 0) + 1
  }
  return { value, asked }
}

/** Without what keeps leases, waiters and messages alive. Their number depends on time, not on the number of locks. */
export const withoutHeartbeats = ({ ping: _ping, refresh: _refresh, ...rest }: Asked): Asked => rest
