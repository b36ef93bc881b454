/** Judges what was written down of a round: what must hold whatever goes wrong. */
import type { LockEvent } from "../support/history.js"
import { checkFencing, checkMutualExclusion, untilDeath } from "../support/history.js"
import type { Answer, Call, Heard, Loss, Record, Run, Span, Turn } from "./record.js"
import { answersOf, callsOf, runsOf, turnsOf } from "./record.js"

export interface Verdict {
  readonly violations: ReadonlyArray<string>
  /** Counts. */
  readonly counts: { readonly [what: string]: number }
  /** Longest times, in milliseconds. */
  readonly longest: { readonly [what: string]: number }
}

/** What a machine with two busy cores may be late by. */
const slackMicros = 250_000

/** Longer than any queue of a round should take, with all that befalls it. */
const longestWaitMicros = 20_000_000

const errors = ["BackendError", "LockLostError", "MultiLockError", "FanoutError"]

const overlap = (a: Span, b: Span): boolean => a.from < b.to && b.from < a.to

// ------------------------------------------------------------------------------------------------------------ holds

interface Held {
  readonly key: string
  readonly process: string
  readonly token: string
  readonly from: number
  /** Infinity when nothing was heard of it: its process has died, or it was forgotten. */
  readonly to: number
  readonly fence: number
  readonly writes: ReadonlyArray<number>
}

const heldIn = ({ asked, entered, leaving, left, process, renewed }: Turn): ReadonlyArray<Held> => {
  if (entered === undefined) return []
  const isDead = process.diedAt !== undefined
  const until = renewed?.until ?? entered.until
  const to = left?.at ?? leaving?.at ?? (isDead ? Math.min(until, process.diedAt) : Infinity)
  const common = { process: process.name, token: String(asked.turn), from: entered.at, to, writes: left?.writes ?? [] }
  return entered.fences.map(([key, fence]) => ({
    ...common,
    key: `${asked.what === "permit" ? "permit" : "lock"} ${key}`,
    fence
  }))
}

/** Without fencing tokens. Only a success says that the keys were held to the end. */
const heldBy = ({ enteredAt, keys, leftAt, process, told }: Call, index: number): ReadonlyArray<Held> =>
  told !== "success" || enteredAt === undefined || leftAt === undefined ? [] : keys.map((key) => ({
    key: `lock ${key}`,
    process: process.name,
    token: `call ${index}`,
    from: enteredAt,
    to: leftAt,
    fence: NaN,
    writes: []
  }))

/**
 * What Redis forgot, it may have given to somebody else: such a hold counts until then. One that was entered later, by
 * a message that was late, does not count at all; a grant can be used for a ttl. A fencing token says when it was granted,
 * by the server's clock.
 */
const remembered = (losses: ReadonlyArray<Loss>, ttl: number) => (held: Held): ReadonlyArray<Held> => {
  let to = held.to
  for (const loss of losses) {
    if (Number.isNaN(held.fence)) {
      if (overlap(held, { from: loss.from, to: loss.to + 1_000 * ttl })) return []
    } else if (held.fence <= loss.fence) {
      const isLate = held.from >= loss.from
      if (isLate && held.from < loss.to + 1_000 * ttl) return []
      if (isLate) continue
      to = Math.min(to, loss.from)
    }
  }
  return [to === held.to ? held : { ...held, to, writes: held.writes.filter((at) => at < to) }]
}

const eventsOf = ({ fence, from, key, process, to, token, writes }: Held): ReadonlyArray<LockEvent> => {
  const hold = { key, process, token, fence: Number.isNaN(fence) ? 0 : fence }
  return [
    { ...hold, type: "enter", at: from },
    ...writes.map((at): LockEvent => ({ ...hold, type: "write", at })),
    ...(to === Infinity ? [] : [{ ...hold, type: "leave", at: to } as const])
  ]
}

const judgeHolds = (record: Record, turns: ReadonlyArray<Turn>, calls: ReadonlyArray<Call>): ReadonlyArray<string> => {
  const deaths = new Map(
    record.processes.flatMap(({ diedAt, name }) => diedAt === undefined ? [] : [[name, diedAt] as const])
  )
  const held = [...turns.flatMap(heldIn), ...calls.flatMap(heldBy)].flatMap(remembered(record.losses, record.ttl))
  const historyOf = (belongs: (held: Held) => boolean) => untilDeath(held.filter(belongs).flatMap(eventsOf), deaths)
  const isPermit = ({ key }: Held) => key.startsWith("permit ")
  const isLock = (held: Held) => !isPermit(held)
  return [
    ...checkMutualExclusion(historyOf(isPermit), record.permits),
    ...checkMutualExclusion(historyOf(isLock)),
    ...checkFencing(historyOf((held) => isLock(held) && !Number.isNaN(held.fence)))
  ].map(({ message, rule }) => `${rule}: ${message}`)
}

// ---------------------------------------------------------------------------------------------------------- flights

const judgeFlights = (
  { faults, losses, ttl }: Record,
  runs: ReadonlyArray<Run>,
  answers: ReadonlyArray<Answer>
): ReadonlyArray<string> => {
  const byName = new Map(runs.map((run) => [run.name, run]))
  const lease = 1_000 * ttl
  const violations: Array<string> = []
  const sorted = [...runs].sort((a, b) => a.from - b.from)
  // A pause is not known to the job, and a loss not to its process, for a while.
  const isExcused = (run: Run) =>
    run.process.stops.some((stop) => overlap(stop, run)) ||
    losses.some((loss) => overlap(run, { from: loss.from - lease, to: loss.to + lease }))
  let longest: Run | undefined
  for (const run of sorted.filter((run) => !isExcused(run))) {
    if (longest !== undefined && run.from + slackMicros < longest.to) {
      violations.push(`runs meet: ${longest.name} until ${longest.to}, ${run.name} from ${run.from}`)
    }
    if (longest === undefined || run.to > longest.to) longest = run
  }
  for (const { from, name, process, told } of answers) {
    if (told !== "success" || name === undefined) continue
    const run = byName.get(name)
    if (run === undefined) {
      violations.push(`${process.name} was given ${name}, which no job has made`)
      continue
    }
    // Other processes can join until Redis has carried out the finish: while that is under way, for a lease at most.
    const delayed = faults.some((fault) => overlap(fault, { from: run.to - slackMicros, to: from }))
    const closed = run.to + slackMicros + (delayed && process !== run.process ? lease : 0)
    if (closed < from) violations.push(`${process.name} asked at ${from} and was given ${name}, over at ${run.to}`)
  }
  return violations
}

// ---------------------------------------------------------------------------------------------------------- settling

const judgeEnds = (
  { commandTimeout, left, processes, ttl }: Record,
  turns: ReadonlyArray<Turn>,
  told: ReadonlyArray<{ readonly process: Heard; readonly told: string }>
): ReadonlyArray<string> => [
  ...processes.flatMap(({ closed, diedAt, name }) =>
    diedAt !== undefined || closed === "success" ? [] : [`${name} did not end well: ${closed}`]
  ),
  ...turns.flatMap(({ asked, left, process }) =>
    left !== undefined || process.diedAt !== undefined
      ? []
      : [`unsettled: ${process.name}, ${asked.what} ${asked.turn}`]
  ),
  ...told.flatMap(({ process, told }) => errors.includes(told) ? [] : [`${process.name} was told: ${told}`]),
  ...left.map((key) => `left in Redis, more than ${2 * ttl + commandTimeout} ms after the end: ${key}`)
]

/** After the last fault everybody has everything again. In milliseconds, by what it is. */
const recoveries = (
  { healedAt, processes }: Record,
  successes: ReadonlyArray<{ readonly process: Heard; readonly what: string; readonly at: number }>
) => {
  const times = new Map<string, number>()
  for (const process of processes.filter(({ diedAt }) => diedAt === undefined)) {
    for (const what of ["lock", "permit", "keys", "flight"]) {
      const at = successes.filter((one) => one.process === process && one.what === what && one.at > healedAt)
        .reduce((first, one) => Math.min(first, one.at), Infinity)
      times.set(what, Math.max(times.get(what) ?? 0, (at - healedAt) / 1_000))
    }
  }
  return times
}

/** The time that a process was let run in. */
const waited = (process: Heard, from: number, to: number): number =>
  process.stops.filter((stop) => overlap(stop, { from, to })).reduce(
    (wait, stop) => wait - (Math.min(to, stop.to) - Math.max(from, stop.from)),
    to - from
  )

const most = (values: ReadonlyArray<number>): number => values.reduce((a, b) => Math.max(a, b), 0)

/** Judges a round. */
export const judge = (record: Record): Verdict => {
  const turns = record.processes.flatMap(turnsOf)
  const calls = record.processes.flatMap(callsOf)
  const answers = record.processes.flatMap(answersOf)
  const runs = record.processes.flatMap(runsOf)
  const entered = turns.flatMap(({ asked, entered, process }) =>
    entered === undefined ? [] : [{ process, what: asked.what, from: asked.at, at: entered.at }]
  )
  const called = calls.filter(({ told }) => told === "success").map(({ askedAt, enteredAt, process }) => ({
    process,
    what: "keys",
    from: askedAt,
    at: enteredAt!
  }))
  const answered = answers.filter(({ told }) => told === "success")
  const successes = [
    ...entered,
    ...called,
    ...answered.map(({ from, process, to }) => ({ process, what: "flight", from, at: to }))
  ]
  const waits = successes.map(({ at, from, process, what }) => ({ what, micros: waited(process, from, at) }))
  const waitOf = (what: string) => most(waits.filter((wait) => wait.what === what).map(({ micros }) => micros)) / 1_000
  const failures = [
    ...turns.flatMap(({ left, process }) => left === undefined ? [] : [{ process, told: left.told }]),
    ...calls.filter(({ told }) => told !== "interrupted"),
    ...answers
  ].filter(({ told }) => told !== "success")
  const fruitless = [
    ...turns.flatMap(({ asked, entered, left, process }) =>
      left === undefined || entered !== undefined ? [] : [{ process, from: asked.at, to: left.toldAt }]
    ),
    ...answers.filter(({ told }) => told !== "success")
  ].map(({ from, process, to }) => waited(process, from, to))
  const again = recoveries(record, successes)
  return {
    violations: [
      ...judgeHolds(record, turns, calls),
      ...judgeFlights(record, runs, answers),
      ...judgeEnds(record, turns, failures),
      ...waits.filter(({ micros }) => micros > longestWaitMicros).map((wait) =>
        `a ${wait.what} took ${wait.micros} us`
      ),
      ...[...again].filter(([, millis]) => millis === Infinity).map(([what]) => `no ${what} after the last fault`)
    ],
    counts: {
      "acquisitions": entered.length + called.length,
      "locks": entered.filter(({ what }) => what === "lock").length,
      "permits": entered.filter(({ what }) => what === "permit").length,
      "multis": called.length + entered.filter(({ what }) => what === "multi").length,
      "fanout runs": runs.length,
      "fanout answers": answered.length,
      ...Object.fromEntries(
        errors.map((tag) => [`told ${tag}`, failures.filter(({ told }) => told === tag).length])
      )
    },
    longest: {
      ...Object.fromEntries(
        ["lock", "permit", "multi", "keys", "flight"].map((what) => [`wait: ${what}`, waitOf(what)])
      ),
      "wait: an error": most(fruitless) / 1_000,
      ...Object.fromEntries([...again].map(([what, millis]) => [`after the last fault: ${what}`, millis]))
    }
  }
}
