/**
 * What must be true of flights, whatever happens. Jobs say when they begin and end, callers when they ask and what they
 * are told, and the store sees every command. Each run of a job produces something that no other does.
 */
import * as F from "../../../src/internal/engine/flight.js"
import type { Answer, FinishRequest, JoinAnswer, JoinRequest, RefreshItem } from "../../../src/internal/flightStore.js"
import type { Reply } from "../../support/lua/interpreter.js"
import type { Process } from "../process.js"
import type { World } from "../world.js"

/** A part in a flight. */
interface Token {
  readonly id: string
  readonly process: Process
  /** Existed when data was lost, a clock was stepped or its process suspended: its flight may run beside another. */
  tainted: boolean
  run: Run | undefined
  followed: boolean
  ledAt: number
  /** How many follow it, as it was last told. */
  followers: number
  /** When the refresh was sent that was sent last, and the command that was answered last with a lease. */
  askedAt: number
  renewedAt: number
  /** How long its process had been paused by then. */
  pausedMillis: number
  /** The end of its lease, by its engine. */
  deadline: number
  /** It was told that it does not lead. */
  lost: boolean
  stopping: boolean
  /** What those who followed it, or it as a follower, may be told. */
  readonly outcomes: Set<string>
  /** What it may be told as well, by a finish that has stopped half-way. */
  readonly halfDone: Set<string>
}

export interface Run {
  readonly name: number
  readonly id: string
  readonly process: Process
  readonly token: Token | undefined
  /** Produced outside of the flight. */
  readonly isPushed: boolean
  endedAt: number | undefined
  /** When the server carried out its finish. It may do so twice when it has lost the first. */
  acceptedAt: number | undefined
  unwantedSince: number | undefined
}

export interface Asker {
  readonly id: string
  readonly process: Process
  readonly arrivedAt: number
  readonly keepMillis: number
}

/** The run that a payload is of. */
const runOf = (payload: string): number => Number(/run\D{1,3}(\d+)/.exec(payload)?.[1] ?? NaN)

/** Leaves that are late, followers that are dead, and a job that is slow to stop. */
const unwantedMillisMax = 16_000
/** A lease of the dead, a job under way that is slow to stop, and one of its own. */
const settleMillisMax = 25_000
const lookEveryMillis = 100

export class FlightJudge {
  readonly tokens = new Map<string, Token>()
  readonly runs: Array<Run> = []
  readonly running = new Set<Run>()
  readonly askers = new Set<Asker>()
  /** Whom a process was told last that it leads the id, by both. */
  private readonly leads = new Map<string, Token>()
  private readonly suspended = new Set<Process>()
  private isSteppedAt = Infinity
  private lookAt = 0

  constructor(readonly world: World) {}

  /** Of that process, or of all. */
  taint(process?: Process): void {
    for (const token of this.tokens.values()) {
      if (process === undefined || token.process === process) token.tainted = true
    }
    if (process) this.suspended.add(process)
    else this.onStep()
  }

  /** The server's clock does. */
  onStep(): void {
    this.isSteppedAt = Math.min(this.isSteppedAt, this.world.now)
  }

  /** Who leads a flight is in its state. */
  onEvicted(id: string, part: string): void {
    if (part !== "state") return
    for (const token of this.tokens.values()) if (token.id === id) token.tainted = true
  }

  // ------------------------------------------------------------------------------------------------- what is sent

  onJoinSent(process: Process, { gaveUp, id, token }: JoinRequest): void {
    if (this.tokens.has(token)) this.world.violate("R11: a token serves one attempt", token)
    if (gaveUp !== undefined) this.onGivenUp(gaveUp)
    this.tokens.set(token, {
      id,
      process,
      tainted: false,
      run: undefined,
      followed: false,
      ledAt: Infinity,
      followers: 0,
      askedAt: -Infinity,
      renewedAt: -Infinity,
      pausedMillis: 0,
      deadline: -Infinity,
      lost: false,
      stopping: false,
      outcomes: new Set(),
      halfDone: new Set()
    })
  }

  onRefreshSent(process: Process, items: ReadonlyArray<RefreshItem>): void {
    for (const { token } of items) {
      const known = this.tokens.get(token)
      if (known) known.askedAt = process.now()
      else this.world.violate("R30: a token is known before it is refreshed", token)
    }
  }

  onGivenUp(token: string): void {
    const run = this.tokens.get(token)?.run
    if (run && run.endedAt === undefined) {
      this.world.violate("R31: a flight is given up only when its job has ended", `${token}, run ${run.name}`)
    }
  }

  onFinishSent({ payload, token }: FinishRequest): void {
    // Who pushes may close its scope without an outcome.
    if (payload.includes("Abandoned")) return
    const pushed = this.runs[runOf(payload)]
    const known = this.tokens.get(token)
    // It may be what its process has produced when it led before. The flight was open until now.
    if (known && pushed?.isPushed && pushed.process === known.process) {
      known.run = pushed
      pushed.endedAt = this.world.now
    }
    const run = this.tokens.get(token)?.run
    if (run?.endedAt === undefined) this.world.violate("R32: only what has ended is finished", token)
    if (run?.name !== runOf(payload)) this.world.violate("an outcome is what the job produced", `${token}: ${payload}`)
  }

  join(run: () => Reply): Reply {
    const reply = run()
    if (Array.isArray(reply) && reply[1] === "late") this.world.count("joins too late")
    return reply
  }

  /** The server carries it out. */
  finish({ id, payload, token }: FinishRequest, run: () => Reply): Reply {
    const flight = this.world.server.backend.flight(id)
    const followers = [...flight?.followers.keys() ?? []]
    const before = flight?.done.has(token)
    const reply = run()
    if (this.world.server.isHalfDone) {
      for (const follower of followers) this.tokens.get(follower)?.halfDone.add(payload)
    }
    if (!Array.isArray(reply)) return reply
    if (reply[1] !== "accepted") {
      this.world.count("outcomes that came too late")
    } else if (!before) {
      const run = this.tokens.get(token)?.run
      if (run) run.acceptedAt = this.world.now
      for (const follower of followers) this.tokens.get(follower)?.outcomes.add(payload)
    }
    return reply
  }

  // ------------------------------------------------------------------------------------------------- what is heard

  /** The answer to a join or a refresh reaches the process. */
  onAnswer(
    process: Process,
    { id, token }: { readonly id: string; readonly token: string },
    sentAt: number,
    answer: JoinAnswer | Answer
  ): void {
    const known = this.tokens.get(token)
    if (known === undefined) return this.world.violate("R30: a token is known before it is answered", token)
    switch (answer._tag) {
      case "Leads":
        if (known.ledAt === Infinity) this.world.count(known.followed ? "flights taken over" : "flights led")
        known.ledAt = Math.min(known.ledAt, process.now())
        known.followers = answer.followers
        // Its engine has given up a lease that is over.
        if (known.run && process.now() >= known.deadline) return
        known.renewedAt = Math.max(known.renewedAt, sentAt)
        known.pausedMillis = process.pausedMillis
        this.leads.set(`${process.name} ${id}`, known)
        return
      case "Follows":
        known.followed = true
        break
      case "Outcome":
        this.onOutcome(token, answer.payload, "read again")
        break
      case "Kept":
        this.world.count("outcomes kept")
    }
    if (answer._tag !== "Failed" && sentAt > known.ledAt) known.lost = true
  }

  onOutcome(token: string, payload: string, how: string): void {
    this.world.count(`outcomes ${how}`)
    const known = this.tokens.get(token)
    if (known === undefined || known.halfDone.has(payload)) return
    if (known.outcomes.has(payload) && (known.outcomes.size === 1 || known.tainted)) return
    this.world.violate("everybody of one flight gets the same outcome", `${token}: run ${runOf(payload)}`)
  }

  // ----------------------------------------------------------------------------------------------- jobs and callers

  /** `alone`: for this process only, which may be beside others. */
  onBegin(process: Process, id: string, alone: boolean): Run {
    const token = alone ? undefined : this.leads.get(`${process.name} ${id}`)
    const run: Run = {
      name: this.runs.length,
      id,
      process,
      token,
      isPushed: false,
      endedAt: undefined,
      acceptedAt: undefined,
      unwantedSince: undefined
    }
    this.world.log(process.name, () => `begins run ${run.name} of ${id}${alone ? ", alone" : ""}`)
    if (alone) this.world.count("jobs that run alone")
    else if (token === undefined) this.world.violate("a job runs only where it leads", `run ${run.name} of ${id}`)
    else if (token.run) this.world.violate("a flight runs one job", `runs ${token.run.name} and ${run.name} of ${id}`)
    else token.run = run
    for (const other of this.running) {
      if (other.id !== id || other.process.state === "dead") continue
      const both = `runs ${other.name} and ${run.name} of ${id}`
      if (other.process === process) {
        this.world.violate("R31: a process awaits its job's end", both)
      } else if (
        !alone && !other.token?.tainted && !token?.tainted && other.process.now() < (other.token?.deadline ?? 0)
      ) {
        this.world.violate("jobs of one id do not overlap", both)
      } else {
        this.world.count("jobs beside one that has lost its lease")
      }
    }
    this.runs.push(run)
    this.running.add(run)
    return run
  }

  /** What was produced outside. Nothing stops that when the lease is lost, so it may be beside another. */
  onPushed(process: Process, id: string): Run {
    const token = this.leads.get(`${process.name} ${id}`)
    const run: Run = {
      name: this.runs.length,
      id,
      process,
      token,
      isPushed: true,
      endedAt: this.world.now,
      acceptedAt: undefined,
      unwantedSince: undefined
    }
    this.runs.push(run)
    if (token) token.run ??= run
    return run
  }

  onEnd(run: Run): void {
    run.endedAt = this.world.now
    this.running.delete(run)
    this.world.log(run.process.name, () => `ends run ${run.name}`)
  }

  onAsk(process: Process, id: string, keepMillis: number): Asker {
    const asker: Asker = { id, process, keepMillis, arrivedAt: this.world.now }
    this.askers.add(asker)
    return asker
  }

  onSettled(asker: Asker): void {
    if (!this.askers.delete(asker)) this.world.violate("no caller is answered twice", asker.id)
  }

  onTold(asker: Asker, told: string, slackMillis: number): void {
    const { world } = this
    const run = this.runs[runOf(told)]
    world.log(asker.process.name, () => `is told ${told.slice(0, 60)}`)
    if (run?.id !== asker.id) return world.violate("an outcome is what the job produced", told)
    const isOwn = run.process === asker.process
    world.count(isOwn ? "outcomes of the same process" : "outcomes of another process")
    if (run.endedAt === undefined) return world.violate("R32: an outcome is one of a job that has ended", told)
    if (asker.keepMillis > 0) {
      // It is taken for younger than it is by what the clock was set back.
      const age = asker.arrivedAt - (run.acceptedAt ?? Infinity) - world.server.backMillis
      if (age > asker.keepMillis + slackMillis) world.violate("an outcome is not kept too long", `${age}: ${told}`)
      return
    }
    // An upper bound of the server's time is no bound when a clock stood still or was stepped.
    if (!isOwn && (this.suspended.has(asker.process) || this.isSteppedAt < world.now)) return
    const openUntil = isOwn ? run.endedAt : run.acceptedAt ?? Infinity
    if (asker.arrivedAt > openUntil + 0.001) {
      world.violate("R32: nobody gets the outcome of before", `${asker.arrivedAt}, run ${run.name} until ${openUntil}`)
    }
  }

  // -------------------------------------------------------------------------------------------------- after each step

  afterStep(): void {
    const { now } = this.world
    for (const { flights, process } of this.world.members) {
      if (process.state !== "running" || flights === undefined) continue
      for (const flight of flights.live) {
        const { state } = flight
        if (state._tag !== "Leading" && state._tag !== "Stopping") continue
        const run = [...this.running].find((one) => one.process === process && one.id === flight.id)
        const lease = F.leaseOf(flight)
        if (lease) this.checkLease(flight.id, process, lease)
        if (run?.token) this.checkState(run.token, state, flights.closed)
      }
    }
    for (const run of this.running) this.checkRenewed(run)
    if (now < this.lookAt) return
    this.lookAt = now + lookEveryMillis
    this.checkWanted()
  }

  private checkLease(id: string, process: Process, { deadline, token }: F.Leading): void {
    const { server } = this.world
    const known = this.tokens.get(token)
    if (known === undefined) return
    known.deadline = Math.max(known.deadline, deadline.at)
    const now = process.now()
    if (deadline.at <= now || known.tainted) return
    const endsAt = this.world.now + (deadline.at - now) / process.rate
    const leader = server.backend.flight(id)?.leader
    if (leader?.token !== token || leader.ends < endsAt + server.offsetMillis) {
      this.world.violate("S3: a lease ends for its leader before it ends at the server", token)
    }
  }

  private checkState(token: Token, state: F.Leading | F.Stopping, closed: boolean): void {
    const name = `run ${token.run?.name} of ${token.id}`
    if (state._tag === "Leading") {
      if (token.lost) this.world.violate("R13: who is told that it does not lead stops", name)
    } else if (!token.stopping) {
      token.stopping = true
      this.world.count("jobs stopped")
      if (state.held !== undefined && !closed && token.followers > 0) {
        this.world.violate("R35: a job that others follow goes on", name)
      }
    }
  }

  /** A lease that is over was not given up: it could not be renewed. */
  private checkRenewed({ name, process, token }: Run): void {
    if (process.state !== "running" || token === undefined || token.lost || process.now() < token.deadline) return
    if (token.askedAt > token.renewedAt || token.pausedMillis !== process.pausedMillis) return
    if (token.deadline > -Infinity) {
      this.world.violate("R31: a lease is renewed until its job has ended", `run ${name}`)
    }
  }

  private checkWanted(): void {
    const { now } = this.world
    const wanted = new Set([...this.askers].filter(({ process }) => process.state !== "dead").map(({ id }) => id))
    for (const run of this.running) {
      if (run.process.state !== "running" || wanted.has(run.id)) run.unwantedSince = undefined
      else run.unwantedSince ??= now
      if (now - (run.unwantedSince ?? now) > unwantedMillisMax) {
        this.world.violate("a job that nobody wants stops", `run ${run.name} of ${run.id}`)
      }
    }
  }

  /** Only while there are no faults. */
  checkIdle(healedAt: number): void {
    const { now, server: { backMillis } } = this.world
    for (const { arrivedAt, id, process } of this.askers) {
      if (process.state === "running" && now - Math.max(arrivedAt, healedAt) > settleMillisMax + backMillis) {
        this.world.violate("every caller of a flight settles", `${process.name} waits for ${id} since ${arrivedAt}`)
      }
    }
  }
}
