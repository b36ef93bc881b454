/** Singletons, some of which keep their key for a while (`hold`), and what must be true of them. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Engine } from "../../src/internal/engine/engine.js"
import type { Lease } from "../../src/internal/engine/lease.js"
import { Handle } from "../../src/internal/lock.js"
import * as Options from "../../src/internal/options.js"
import * as Singleton from "../../src/internal/singleton.js"
import type * as Lock from "../../src/Lock.js"
import type { Process } from "./process.js"
import type { Habits } from "./workload.js"
import type { World } from "./world.js"

export const key = "single"
const name = `lock:${key}`

interface Run {
  readonly process: Process
  readonly lease: Lease
  readonly token: string
  readonly grantedAt: number
  readonly holdMillis: number
  isOver: boolean
}

/** Clocks that differ in speed, and whole milliseconds. */
const drift = (millis: number): number => millis * 0.01 + 3

export class SingletonJudge {
  private readonly runs: Array<Run> = []

  constructor(readonly world: World) {}

  onBegin(process: Process, lease: Lease, holdMillis: number): Run {
    const { judge, now } = this.world
    const { token } = lease
    const run = { process, lease, token, grantedAt: judge.grantedAt(name, token) ?? now, holdMillis, isOver: false }
    for (const other of this.runs) {
      if (judge.isEnded(other.token, name) || judge.isTainted(token, name)) continue
      const both = `${token} beside ${other.token}`
      if (other.process.state === "running" && !other.isOver && isInForce(other)) {
        this.world.violate("one run of a singleton at a time", both)
      }
      if (run.grantedAt < other.grantedAt + other.holdMillis - drift(other.holdMillis)) {
        this.world.violate(
          "the key of a singleton is kept for hold",
          `${both}, ${run.grantedAt - other.grantedAt} ms later`
        )
      }
    }
    this.world.count(holdMillis > 0 ? "singletons with hold" : "singletons")
    this.world.log(process.name, () => `runs the singleton ${token}`)
    this.runs.push(run)
    return run
  }

  onEnd(run: Run): void {
    run.isOver = true
    this.world.log(run.process.name, () => `ends the singleton ${run.token}`)
  }
}

const isInForce = ({ lease: { state }, process }: Run): boolean =>
  state._tag === "Held" && state.deadline.at > process.now()

/** For a while: it would stand for as long as it is not served. */
export const stand = (world: World, process: Process, engine: Engine, habits: Habits): Effect.Effect<void> => {
  const { random, singletons } = world
  const ttl = random.pick(habits.ttls)
  const hold = random.pick([0, 200, 1_500, 2 * ttl])
  const env = { engine, realm: engine, defaults: Result.getOrThrow(Options.decode(undefined, ttl)) }
  const work = Effect.suspend(() => Effect.sleep(Duration.millis(random.between(0, habits.holdMillis))))
  const body = (handle: Lock.Lock) =>
    Effect.suspend(() => {
      if (!(handle instanceof Handle)) return Effect.die(new Error("the library hands out nothing else"))
      const run = singletons.onBegin(process, Handle.leaseOf(handle), hold)
      return Effect.ensuring(work, Effect.sync(() => singletons.onEnd(run)))
    })
  const options = {
    ttl,
    hold,
    metadata: `${process.name} call ${world.nextNumber()}`,
    wait: random.chance(0.4) ? 0 : undefined
  }
  return Singleton.run(env, key, body, options).pipe(
    Effect.timeoutOption(Duration.millis(random.between(1, 5_000))),
    Effect.catch(({ _tag, reason }) =>
      Effect.sync(() => {
        world.count(`singletons told ${_tag} ${reason}`)
        if (_tag === "BackendError" && reason !== "Refused" && options.wait === undefined && !engine.closed) {
          world.violate("a singleton stands while the server is away", `${process.name} is told ${reason}`)
        }
      })
    ),
    Effect.asVoid
  )
}
