/** What is written down of a round: all that its judge needs. Stamps are microseconds of the machine's one clock. */
import type { CallMessage, TurnMessage } from "../faults/contending.js"

export interface Span {
  readonly from: number
  readonly to: number
}

export interface Fault extends Span {
  readonly kind: string
  /** Whom it befell, when not all. */
  readonly process?: string | undefined
}

/** Redis forgot what it had been told since `from`, or more. */
export interface Loss extends Span {
  /** The same moment as `to`, by the clock that fencing tokens are made from. */
  readonly fence: number
}

export interface Heard {
  readonly name: string
  readonly messages: ReadonlyArray<any>
  /** When it was stopped and when it went on. */
  readonly stops: ReadonlyArray<Span>
  readonly diedAt: number | undefined
  /** How it ended when nobody killed it: "success", or what was wrong. */
  readonly closed: string | undefined
}

export interface Record {
  readonly processes: ReadonlyArray<Heard>
  readonly faults: ReadonlyArray<Fault>
  readonly losses: ReadonlyArray<Loss>
  /** When the last fault was over. */
  readonly healedAt: number
  readonly permits: number
  readonly ttl: number
  readonly commandTimeout: number
  /** What is in Redis some time after all have closed. */
  readonly left: ReadonlyArray<string>
}

/** What is known of one turn: what its process said of it before it died. */
export interface Turn {
  readonly process: Heard
  readonly asked: Extract<TurnMessage, { readonly type: "asked" }>
  entered?: Extract<TurnMessage, { readonly type: "entered" }>
  renewed?: Extract<TurnMessage, { readonly type: "renewed" }>
  leaving?: Extract<TurnMessage, { readonly type: "leaving" }>
  left?: Extract<TurnMessage, { readonly type: "left" }>
}

export const turnsOf = (process: Heard): ReadonlyArray<Turn> => {
  const turns = new Map<number, Turn>()
  for (const message of process.messages) {
    if (message.type === "asked") turns.set(message.turn, { process, asked: message })
    else if (message.turn !== undefined) (turns.get(message.turn) as any)[message.type] = message
  }
  return [...turns.values()]
}

/** One call on several keys. */
export interface Call extends CallMessage {
  readonly process: Heard
}

/** One call for what a job gives. */
export interface Answer extends Span {
  readonly process: Heard
  readonly told: string
  readonly name: string | undefined
}

/** One run of a job, to its end or the end of its process. */
export interface Run extends Span {
  readonly process: Heard
  readonly name: string
}

export const callsOf = (process: Heard): ReadonlyArray<Call> =>
  process.messages.filter(({ type }) => type === "settled").map((call) => ({ ...call, process }))

export const answersOf = (process: Heard): ReadonlyArray<Answer> =>
  process.messages.filter(({ type }) => type === "answered").map(({ askedAt, at, name, told }) => ({
    process,
    from: askedAt,
    to: at,
    told,
    name
  }))

export const runsOf = (process: Heard): ReadonlyArray<Run> => {
  const ends = new Map(process.messages.filter(({ type }) => type === "ended").map(({ at, name }) => [name, at]))
  return process.messages.filter(({ type }) => type === "began").map(({ at, name }) => ({
    process,
    name,
    from: at,
    to: ends.get(name) ?? process.diedAt ?? Infinity
  }))
}

/** Whether the process has had everything that it contends for once more since then. */
export const hasAll = (process: Heard, since: number): boolean =>
  ["lock", "permit"].every((what) =>
    turnsOf(process).some(({ asked, entered }) => asked.what === what && entered !== undefined && entered.at > since)
  ) &&
  callsOf(process).some(({ enteredAt, told }) => told === "success" && enteredAt! > since) &&
  answersOf(process).some(({ to, told }) => told === "success" && to > since)
