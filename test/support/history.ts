/**
 * Checks histories of holds against what a lock promises. Pure functions over events that the processes recorded. They
 * prove a history wrong, never a lock right. Both ends of a hold must be stamped inside it: "enter" after the grant was
 * returned, "leave" before release is called, at the moment a loss is told, or (by the harness) when a process died.
 */

/** What a process did to a key. Stamps are microseconds of one monotonic clock, see `monotonicMicros`. */
export interface LockEvent {
  /** "write" is a write the guarded resource accepted, stamped when it did. */
  readonly type: "enter" | "leave" | "write"
  readonly key: string
  /** Tells the holds of one process on one key apart, together with the fence. */
  readonly token?: string | undefined
  readonly fence: number
  readonly at: bigint | number
  readonly process: string
  /** How much of the limit an "enter" takes. Defaults to 1. */
  readonly weight?: number | undefined
}

/** The time from `start` up to, not including, `end`. Without a "leave" it never ends. */
export interface Hold {
  readonly key: string
  readonly process: string
  readonly token: string | undefined
  readonly fence: number
  readonly weight: number
  readonly start: bigint | number
  readonly end: bigint | number
}

/** A proof that the history is wrong. */
export interface Violation {
  /**
   * "overlap": more is held than the limit allows. "outside": a write by one who does not hold. "fence": a later hold
   * with no higher fence. "stale": a write accepted after one with a higher fence. "malformed": the events of a hold
   * do not pair up, so the history itself is broken.
   */
  readonly rule: "overlap" | "outside" | "fence" | "stale" | "malformed"
  readonly key: string
  readonly at: bigint | number
  readonly message: string
}

type Stamp = bigint | number

const compare = (a: Stamp, b: Stamp): number => a < b ? -1 : a > b ? 1 : 0

const describeHold = (hold: Hold): string => `${hold.process} (fence ${hold.fence}) [${hold.start}, ${hold.end})`

const byKey = <A extends { readonly key: string }>(items: ReadonlyArray<A>): Map<string, Array<A>> => {
  const groups = new Map<string, Array<A>>()
  for (const item of items) {
    const group = groups.get(item.key)
    if (group === undefined) groups.set(item.key, [item])
    else group.push(item)
  }
  return groups
}

/** Pairs the events up. Events of equal stamp count in the order given. */
const pairUp = (events: ReadonlyArray<LockEvent>) => {
  const holds: Array<Hold> = []
  const malformed: Array<Violation> = []
  const outside: Array<Violation> = []
  const open = new Map<string, LockEvent>()
  const close = (enter: LockEvent, end: Stamp) => {
    const { at: start, fence, key, process, token, weight = 1 } = enter
    holds.push({ key, process, token, fence, weight, start, end })
  }
  for (const event of [...events].sort((a, b) => compare(a.at, b.at))) {
    const { at, fence, key, process, type } = event
    const id = JSON.stringify([key, process, event.token, fence])
    const enter = open.get(id)
    const who = `${process} (fence ${fence})`
    if (type === "enter") {
      if (enter === undefined) open.set(id, event)
      else malformed.push({ rule: "malformed", key, at, message: `${key}: ${who} enters twice, again at ${at}` })
    } else if (type === "write") {
      if (enter !== undefined) continue
      outside.push({ rule: "outside", key, at, message: `${key}: ${who} writes at ${at}, outside a hold of its own` })
    } else if (enter === undefined) {
      malformed.push({ rule: "malformed", key, at, message: `${key}: ${who} leaves at ${at} without an enter` })
    } else {
      open.delete(id)
      close(enter, at)
    }
  }
  for (const enter of open.values()) close(enter, Infinity)
  return { holds, malformed, outside }
}

/** The holds of a history, by start. */
export const holdsOf = (events: ReadonlyArray<LockEvent>): ReadonlyArray<Hold> =>
  pairUp(events).holds.sort((a, b) => compare(a.start, b.start))

/**
 * No instant has more held than `limit`, by weight, for any one key (tolerance 0: a hold may start when another ends,
 * not before), and nobody writes outside a hold of their own.
 */
export const checkMutualExclusion = (events: ReadonlyArray<LockEvent>, limit = 1): ReadonlyArray<Violation> => {
  const { holds, malformed, outside } = pairUp(events)
  const violations = [...malformed, ...outside]
  for (const [key, group] of byKey(holds)) {
    const lasting = group.filter((hold) => hold.start < hold.end)
    const starts = [...lasting].sort((a, b) => compare(a.start, b.start))
    const ends = [...lasting].sort((a, b) => compare(a.end, b.end))
    const live = new Set<Hold>()
    let weight = 0
    let ended = 0
    for (const hold of starts) {
      for (let next = ends[ended]; next !== undefined && next.end <= hold.start; next = ends[++ended]) {
        live.delete(next)
        weight -= next.weight
      }
      live.add(hold)
      weight += hold.weight
      if (weight <= limit) continue
      const message = `${key}: ${weight} held, limit ${limit}: ${[...live].map(describeHold).join(", ")}`
      violations.push({ rule: "overlap", key, at: hold.start, message })
    }
  }
  return violations
}

/**
 * Of two holds of a key that do not overlap the later has the higher fence, and no write is accepted after one with a
 * higher fence.
 */
export const checkFencing = (events: ReadonlyArray<LockEvent>): ReadonlyArray<Violation> => {
  const { holds, malformed } = pairUp(events)
  const violations = [...malformed]
  for (const [key, group] of byKey(holds)) {
    const starts = [...group].sort((a, b) => compare(a.start, b.start))
    const ends = [...group].sort((a, b) => compare(a.end, b.end) || compare(a.start, b.start))
    let ended = 0
    let highest: Hold | undefined
    for (const hold of starts) {
      // The second condition keeps a hold of no length from coming before itself.
      for (
        let next = ends[ended];
        next !== undefined && next.end <= hold.start && next.start < hold.start;
        next = ends[++ended]
      ) {
        if (highest === undefined || next.fence > highest.fence) highest = next
      }
      if (highest === undefined || highest.fence < hold.fence) continue
      const message = `${key}: the fence does not grow from ${describeHold(highest)} to ${describeHold(hold)}`
      violations.push({ rule: "fence", key, at: hold.start, message })
    }
  }
  const writes = events.filter(({ type }) => type === "write").sort((a, b) => compare(a.at, b.at))
  for (const [key, group] of byKey(writes)) {
    let highest = -Infinity
    for (const { at, fence, process } of group) {
      if (fence < highest) {
        const message = `${key}: a write of ${process} with fence ${fence} is accepted at ${at}, after fence ${highest}`
        violations.push({ rule: "stale", key, at, message })
      }
      highest = Math.max(highest, fence)
    }
  }
  return violations
}

/**
 * The most waiters that arrived after one and entered before it: 0 is FIFO. Both lists are in order of time and name
 * each waiter once. Waiters that never entered (gave up, died) do not count.
 */
export const maxOvertakes = (arrivals: ReadonlyArray<string>, entries: ReadonlyArray<string>): number => {
  const entered = new Map(entries.map((waiter, position) => [waiter, position]))
  const order = arrivals.flatMap((waiter) => entered.get(waiter) ?? [])
  if (new Set(arrivals).size !== arrivals.length || entered.size !== entries.length || order.length !== entered.size) {
    throw new Error("Each waiter must arrive once, before it enters, and enter at most once")
  }
  return order.reduce((most, mine, index) => {
    const overtakes = order.slice(index + 1).filter((other) => other < mine).length
    return Math.max(most, overtakes)
  }, 0)
}

/** What the processes did until they died: what they may have done later is not known, and what was held ended then. */
export const untilDeath = (
  events: ReadonlyArray<LockEvent>,
  deaths: ReadonlyMap<string, Stamp>
): ReadonlyArray<LockEvent> => {
  const diedAt = ({ process }: LockEvent): Stamp => deaths.get(process) ?? Infinity
  const lived = events.filter((event) => event.at <= diedAt(event))
  const idOf = ({ fence, key, process, token }: LockEvent) => JSON.stringify([key, process, token, fence])
  const left = new Set(lived.filter(({ type }) => type === "leave").map(idOf))
  const cutOff = lived.filter((event) => event.type === "enter" && deaths.has(event.process) && !left.has(idOf(event)))
  return [...lived, ...cutOff.map((event): LockEvent => ({ ...event, type: "leave", at: diedAt(event) }))]
}

/** One place in a queue that led to something: stamps in microseconds. */
export interface Turn {
  readonly process: string
  readonly askedAt: number
  readonly enteredAt: number
  readonly leftAt: number
}

/**
 * By how much each entered later than first in, first out has it: had all come when they did and stayed inside as long
 * as they did, with `capacity` inside at a time and the next one entering in the very instant that there is room. In
 * the order of arrival; negative for one that was let in before its turn.
 */
export const latenessOverFifo = (
  turns: ReadonlyArray<Turn>,
  capacity: number
): ReadonlyArray<{ readonly turn: Turn; readonly micros: number }> => {
  const freeAt = Array.from({ length: capacity }, () => -Infinity)
  return [...turns].sort((a, b) => a.askedAt - b.askedAt).map((turn) => {
    const place = freeAt.indexOf(Math.min(...freeAt))
    const entersAt = Math.max(turn.askedAt, freeAt[place]!)
    freeAt[place] = entersAt + turn.leftAt - turn.enteredAt
    return { turn, micros: turn.enteredAt - entersAt }
  })
}
