/** The second part of the demo: many callers in four processes ask for one thing at once, and one process does the work. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import pc from "picocolors"
import { Dlock } from "../../src/index.js"
import type { Worker } from "../../test/support/workers.js"
import { monotonicMicros, spawnWorker } from "../../test/support/workers.js"
import type { Ask, Said } from "./asker.js"
import { ttlMillis } from "./contender.js"
import { DemoError, within } from "./ledger.js"
import { colourOf, count, duration, heading, print } from "./style.js"

const processes = 4
const callers = 250
const jobMillis = 400
/** How far the job of a leader is when it is killed. */
const killAfterMillis = 150

interface Asker {
  readonly who: number
  readonly name: string
  readonly worker: Worker
}

type SaidOf<Type extends Said["type"]> = Extract<Said, { readonly type: Type }>

const hear = <Type extends Said["type"]>(
  { name, worker }: Asker,
  type: Type,
  millis = 15_000
): Effect.Effect<SaidOf<Type>, DemoError> =>
  Effect.tryPromise({
    try: () => worker.next((said: Said): said is SaidOf<Type> => said.type === type, millis),
    catch: (error) => new DemoError({ message: `${name} did not say "${type}". ${String(error)}` })
  })

const start = (who: number, url: string, prefix: string): Effect.Effect<Asker, DemoError, Scope.Scope> =>
  Effect.gen(function*() {
    const name = `worker ${who + 1}`
    const args = [name, url, prefix, String(ttlMillis)]
    const worker = yield* Effect.acquireRelease(
      Effect.sync(() => spawnWorker(new URL("asker.ts", import.meta.url), { args })),
      (worker) => Effect.promise(() => worker.kill())
    )
    const asker = { who, name, worker }
    yield* hear(asker, "ready")
    return asker
  })

/** The askers whose jobs begin, one after the other. */
const watchJobs = (askers: ReadonlyArray<Asker>) =>
  Effect.gen(function*() {
    const begun = yield* Queue.unbounded<Asker>()
    yield* Effect.forEach(askers, (asker) =>
      hear(asker, "runs", 60_000).pipe(
        Effect.andThen(Queue.offer(begun, asker)),
        Effect.forever,
        // It was killed.
        Effect.ignore,
        Effect.forkScoped
      ))
    return Queue.take(begun).pipe(within("a job begins", 15))
  })

/** Lets all ask for one thing. Says when that was. */
const ask = (askers: ReadonlyArray<Asker>): Effect.Effect<number> =>
  Effect.sync(() => {
    const order: Ask = { id: "report", callers, jobMillis }
    for (const { worker } of askers) worker.send(order)
    return monotonicMicros()
  })

/** What all that are left were answered, and when the last of them was. */
const collect = (askers: ReadonlyArray<Asker>, startedAt: number) =>
  Effect.map(Effect.forEach(askers, (asker) => hear(asker, "answered"), { concurrency: "unbounded" }), (all) => {
    const answers = new Map<string, number>()
    for (const said of all) {
      for (const [answer, times] of Object.entries(said.answers)) {
        answers.set(answer, (answers.get(answer) ?? 0) + times)
      }
    }
    return { answers, took: Math.max(...all.map(({ at }) => at)) - startedAt }
  })

const line = (text: string) => Effect.sync(() => print(`  ${text}`))
const named = ({ name, who }: Asker): string => colourOf(who)(name)

const verdict = (askers: ReadonlyArray<Asker>, answers: ReadonlyMap<string, number>): boolean =>
  answers.size === 1 && [...answers.values()][0] === askers.length * callers

const showAnswers = (askers: ReadonlyArray<Asker>, answers: ReadonlyMap<string, number>, took: number) =>
  Effect.gen(function*() {
    for (const [answer, times] of answers) {
      const asker = askers.find(({ name }) => answer.endsWith(name))
      const by = asker === undefined ? answer : colourOf(asker.who)(answer)
      yield* line(`  ${count(times, "caller")} got ${by}, the last of them after ${pc.bold(duration(took))}`)
    }
  })

/** Succeeds with whether every caller got the one answer there was. */
export const askTogether = (url: string, prefix: string): Effect.Effect<boolean, DemoError, Scope.Scope> =>
  Effect.gen(function*() {
    heading(
      "Many ask, one does the work",
      `: ${processes} processes, ${callers} callers in each, one id, a job of ${duration(jobMillis * 1000)}`
    )
    const askers = yield* Effect.forEach(
      Array.from({ length: processes }, (_, who) => who),
      (who) => start(who, url, prefix),
      { concurrency: "unbounded" }
    )
    const nextJob = yield* watchJobs(askers)
    const askedFirst = yield* ask(askers)
    yield* line(`all ask at once; ${named(yield* nextJob)} runs the job`)
    const one = yield* collect(askers, askedFirst)
    yield* showAnswers(askers, one.answers, one.took)

    const askedAgain = yield* ask(askers)
    const leader = yield* nextJob
    yield* line(`all ask again; ${named(leader)} runs the job, and is ${pc.red("killed")} in the middle of it`)
    yield* Effect.sleep(killAfterMillis)
    yield* Effect.promise(() => leader.worker.kill())
    yield* line(`${named(yield* nextJob)} takes over when the lease is over (ttl ${ttlMillis / 1000} s)`)
    const left = askers.filter((asker) => asker !== leader)
    const two = yield* collect(left, askedAgain)
    yield* showAnswers(left, two.answers, two.took)

    const isKept = verdict(askers, one.answers) && verdict(left, two.answers)
    print(
      isKept
        ? pc.bold(pc.green("\n  ✔ One job for each question, one answer for all, and a job that died was taken over."))
        : pc.bold(pc.red("\n  ✘ Not everybody got the same answer."))
    )
    return isKept
  })

/** The same in one process, where nobody can be killed. */
export const askInMemory: Effect.Effect<boolean, never, Dlock.Dlock> = Effect.gen(function*() {
  let runs = 0
  const job = Effect.as(Effect.andThen(Effect.sync(() => runs++), Effect.sleep(jobMillis)), "the answer")
  heading("Many ask, one does the work", `: ${callers} callers, one id`)
  yield* Effect.orDie(Effect.replicateEffect(Dlock.fanout("report", job), callers, { concurrency: "unbounded" }))
  const isKept = runs === 1
  print(isKept ? pc.bold(pc.green(`\n  ✔ One job for ${callers} callers.`)) : pc.bold(pc.red(`\n  ✘ ${runs} jobs.`)))
  return isKept
})
