/** From what the processes of a contender did to the figures of a round. */
import type { LockEvent } from "../../test/support/history.js"
import { checkFencing, checkMutualExclusion } from "../../test/support/history.js"
import type { Turn } from "../contender.js"
import type { Sample } from "../scenario.js"
import type { Outcome } from "./group.js"
import { jain, quantile, sum } from "./stats.js"
import type { ContendWork } from "./work.js"

const unless = (isRight: boolean, wrong: string): ReadonlyArray<string> => isRight ? [] : [wrong]

/** Free locks: speed, and what each operation cost. */
export const ofCycles = (outcome: Outcome, operations: number): Sample => ({
  figures: {
    speed: operations / outcome.seconds,
    micros: outcome.seconds / operations * 1e6,
    cpuMicros: outcome.cpuMicros / operations,
    commands: outcome.commands / operations,
    redisMicros: outcome.redisMicros / operations
  },
  wrong: unless(outcome.executions === operations, `${outcome.executions} executions of ${operations}`)
})

/** Turns of all processes, in the order in which they held it. Waiters are numbered over all processes. */
const turnsOf = (outcome: Outcome, waiters: number): ReadonlyArray<Turn> =>
  outcome.processes
    .flatMap(({ turns }, index) => turns.map((turn) => ({ ...turn, waiter: index * waiters + turn.waiter })))
    .sort((a, b) => a.enteredAt - b.enteredAt)

const historyOf = (key: string, turns: ReadonlyArray<Turn>): ReadonlyArray<LockEvent> =>
  turns.flatMap(({ enteredAt, fence, leftAt, waiter }, index): ReadonlyArray<LockEvent> => [
    { type: "enter", key, process: `waiter ${waiter}`, fence: fence ?? index, at: enteredAt },
    { type: "leave", key, process: `waiter ${waiter}`, fence: fence ?? index, at: leftAt }
  ])

const wrongWith = (work: ContendWork, turns: ReadonlyArray<Turn>, processes: number): ReadonlyArray<string> => {
  const history = historyOf(work.key, turns)
  const overlaps = checkMutualExclusion(history, work.permits).length
  const isFenced = turns.some(({ fence }) => fence !== undefined)
  const fences = isFenced ? checkFencing(history).length : 0
  const waited = new Set(turns.map(({ waiter }) => waiter)).size
  return [
    ...unless(overlaps === 0, `${overlaps} overlaps`),
    ...unless(fences === 0, `${fences} wrong fences`),
    ...unless(waited === work.waiters * processes, `${work.waiters * processes - waited} waiters never served`)
  ]
}

/** Jain's index, as a share of the most that whole turns allow. */
const fairness = (turns: ReadonlyArray<Turn>, waiters: number): number => {
  const shares = Array.from({ length: waiters }, () => 0)
  for (const { waiter } of turns) shares[waiter]!++
  return jain(shares) / jain(shares.map((_, waiter) => Math.floor((turns.length + waiter) / waiters)))
}

/** A lock, or permits, that many want. */
export const ofContention = (outcome: Outcome, work: ContendWork): Sample => {
  const turns = turnsOf(outcome, work.waiters)
  const waits = turns.map(({ askedAt, enteredAt }) => (enteredAt - askedAt) / 1000)
  const first = turns[0]?.enteredAt ?? NaN
  const last = Math.max(...turns.slice(-100).map(({ leftAt }) => leftAt))
  const seconds = (last - first) / 1e6
  const held = sum(turns.map(({ enteredAt, leftAt }) => leftAt - enteredAt)) / 1e6
  const handovers = turns.filter(({ waiter }, i) => i > 0 && turns[i - 1]!.waiter !== waiter).length
  return {
    figures: {
      speed: turns.length / seconds,
      handovers: handovers / seconds,
      others: handovers / (turns.length - 1),
      idle: (seconds - held) * 1000 / (turns.length - 1),
      waitP50: quantile(waits, 0.5),
      waitP99: quantile(waits, 0.99),
      waitMax: quantile(waits, 1),
      fairness: fairness(turns, work.waiters * outcome.processes.length),
      cpuMicros: outcome.cpuMicros / turns.length,
      commands: outcome.commands / turns.length,
      redisMicros: outcome.redisMicros / turns.length
    },
    wrong: wrongWith(work, turns, outcome.processes.length)
  }
}
