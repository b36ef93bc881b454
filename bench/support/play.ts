/** Plays scenarios: A B C, B C A, C A B … What slows the machine down for a while then slows all of them. */
import type { ContenderId } from "../contenders/index.js"
import type { Sample, Scenario, Sweep } from "../scenario.js"
import type { Group } from "./group.js"
import { makeGroup } from "./group.js"

/** The rounds of one contender. A round that did not end well has no sample. */
export interface Played {
  readonly id: ContenderId
  readonly name: string
  readonly samples: ReadonlyArray<Sample | undefined>
  /** What went wrong in whatever round. */
  readonly wrong: ReadonlyArray<string>
}

export interface Result {
  readonly scenario: Scenario
  readonly played: ReadonlyArray<Played>
}

export interface Point {
  readonly x: number
  readonly figures: Sample["figures"]
}

export interface SweepResult {
  readonly sweep: Sweep
  readonly lines: ReadonlyArray<{
    readonly name: string
    readonly points: ReadonlyArray<Point>
    /** Why there is no point any more. */
    readonly stopped: string | undefined
  }>
}

const groups = new Map<ContenderId, Group>()

/** Its processes, kept for all scenarios. */
export const groupOf = async (id: ContenderId): Promise<Group> => {
  const group = groups.get(id) ?? await makeGroup(id)
  groups.set(id, group)
  return group
}

export const stopGroups = async (): Promise<void> => {
  await Promise.all([...groups.values()].map((group) => group.stop()))
}

/** A line of what happened. */
const reasonOf = (error: unknown): string => {
  const message = error instanceof Error ? error.message : String(error)
  const late = /did not send the message in (\d+) ms/.exec(message)
  const [line = "failed"] = message.split("\n").filter((line) => /error/i.test(line) || !line.startsWith("Worker"))
  return late === null ? line.trim().slice(0, 100) : `did not end in ${Number(late[1]) / 1000} s`
}

/** Who failed twice does not get to delay everybody again. */
const patience = 2

export const play = async (scenario: Scenario): Promise<Result> => {
  const entries = await Promise.all(scenario.contenders.map(async (id) => ({
    group: await groupOf(id),
    samples: [] as Array<Sample | undefined>,
    wrong: [] as Array<string>,
    failures: 0
  })))
  const warmups = scenario.warmups ?? 1
  for (const { group, wrong } of entries) {
    await scenario.warmUp?.(group).catch((error: unknown) => void wrong.push(reasonOf(error)))
  }
  for (let round = 0; round < warmups + scenario.rounds; round++) {
    for (let turn = 0; turn < entries.length; turn++) {
      const entry = entries[(round + turn) % entries.length]!
      let sample: Sample | undefined
      if (entry.failures < patience) {
        try {
          sample = await scenario.play(entry.group, round)
          entry.wrong.push(...sample.wrong)
        } catch (error) {
          entry.failures++
          entry.wrong.push(reasonOf(error))
        }
      }
      if (round >= warmups) entry.samples.push(sample)
    }
  }
  const played = entries.map(({ group: { id, name }, samples, wrong }) => ({
    id,
    name,
    samples,
    wrong
  }))
  return { scenario, played }
}

export const playSweep = async (sweep: Sweep): Promise<SweepResult> => {
  const lines = await Promise.all(sweep.contenders.map(async (id) => ({
    group: await groupOf(id),
    points: [] as Array<Point>,
    stopped: undefined as string | undefined
  })))
  for (const point of sweep.points) {
    for (const line of lines) {
      if (line.stopped !== undefined) continue
      try {
        line.points.push({ x: point, figures: await sweep.play(line.group, point) })
      } catch (error) {
        line.stopped = `${point.toLocaleString("en-US")}: ${reasonOf(error)}`
      }
    }
  }
  return { sweep, lines: lines.map(({ group: { name }, points, stopped }) => ({ name, points, stopped })) }
}
