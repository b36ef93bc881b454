/**
 * How soon something is noticed, by the clock of the process: what is held, waits, leads or follows is asked about in time
 * (R43), and is over by its own deadline at the latest, whatever the server says or does not. Part of the judge.
 */
import * as F from "../../src/internal/engine/flight.js"
import type { Flights } from "../../src/internal/engine/flights.js"
import type { Keeper } from "../../src/internal/engine/keeper.js"
import * as L from "../../src/internal/engine/lease.js"
import type { Process } from "./process.js"
import type { World } from "./world.js"

/** Timers that are late, and what waits behind them. */
const slackMillis = 200
const lookEveryMillis = 20

/** A command: when it was sent, by the time that its process ran, as a pause is nobody's fault. */
export interface Sent {
  readonly at: number
  isAnswered: boolean
}

export class PromptJudge {
  /** The last command about a token. */
  private readonly sent = new Map<string, Sent>()
  private readonly subscribed = new Set<Process>()
  private lookAt = 0

  constructor(readonly world: World) {}

  onSent(process: Process, ...tokens: ReadonlyArray<string>): ReadonlyArray<Sent> {
    return tokens.map((token) => {
      const sent: Sent = { at: process.now() - process.pausedMillis, isAnswered: false }
      this.sent.set(token, sent)
      return sent
    })
  }

  afterStep(): void {
    const { members, now } = this.world
    if (now < this.lookAt) return
    this.lookAt = now + lookEveryMillis
    for (const { commandTimeoutMillis, engine, flights, process } of members) {
      // What has been due while it was paused is seen to one after the other.
      if (process.state !== "running" || now < process.runsSince + slackMillis) continue
      if (this.world.isCalm && engine?.closed === false) this.checkSubscribed(process, engine.keeper)
      if (engine) this.checkLeases(process, engine.keeper, commandTimeoutMillis)
      if (flights) this.checkFlights(process, flights, commandTimeoutMillis)
    }
  }

  private checkSubscribed(process: Process, { subscribed }: Keeper): void {
    if (subscribed) this.subscribed.add(process)
    else if (this.subscribed.has(process)) {
      this.world.violate("messages that come as fast as replies are not missed", process.name)
    }
  }

  private checkLeases(process: Process, { leases }: Keeper, commandTimeoutMillis: number): void {
    const now = process.now()
    for (const [first, lease] of leases) {
      const { failure, state, terms, token } = lease
      if (first !== token) continue
      if (state._tag === "Held") {
        this.checkOver(
          `${token} of ${process.name}`,
          now,
          Math.min(state.deadline.at, state.since + terms.maxHoldMillis)
        )
      }
      if (state._tag === "Waiting" || (state._tag === "Held" && terms.renew)) {
        const ttlMillis = state._tag === "Held" ? terms.ttlMillis : L.livenessMillis(terms.ttlMillis)
        const tokens = L.toItems(lease).map((item) => item.token)
        this.checkAsked(process, tokens, ttlMillis, failure !== undefined, commandTimeoutMillis)
      }
    }
  }

  private checkFlights(process: Process, { live }: Flights, commandTimeoutMillis: number): void {
    for (const flight of live) {
      const { failure, state, ttlMillis } = flight
      const lease = F.leaseOf(flight)
      if (lease) this.checkOver(`${lease.token} of ${process.name}`, process.now(), lease.deadline.at)
      const token = lease?.token ?? (state._tag === "Following" ? state.token : undefined)
      if (token === undefined) continue
      this.checkAsked(process, [token], ttlMillis, failure !== undefined, commandTimeoutMillis)
    }
  }

  private checkOver(name: string, now: number, endsAt: number): void {
    if (now > endsAt + slackMillis) {
      this.world.violate("what is over by its own deadline is lost then", `${name}, ${now - endsAt} ms ago`)
    }
  }

  private checkAsked(
    process: Process,
    tokens: ReadonlyArray<string>,
    ttlMillis: number,
    isRefused: boolean,
    commandTimeoutMillis: number
  ): void {
    const sent = tokens.flatMap((token) => this.sent.get(token) ?? [])
    const since = process.now() - process.pausedMillis - Math.min(...sent.map(({ at }) => at))
    // Not as the lease itself says: one that is to ask again at once, or is merged from others (R20), has not asked yet.
    const isSlow = isRefused || sent.some(({ isAnswered }) => !isAnswered)
    // Until it counts as unanswered, and is repeated.
    const repeatMillis = 1.02 * commandTimeoutMillis + Math.min(1_000, Math.max(50, ttlMillis / 10))
    if (since > Math.max(ttlMillis / 3, isSlow ? repeatMillis : 0) + slackMillis) {
      this.world.violate(
        "R43: it is asked about after a third of its time",
        `${tokens.join()} of ${ttlMillis}: ${since}`
      )
    }
  }
}
