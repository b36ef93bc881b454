/**
 * One process: a clock, a scheduler and a crowd of fibers of its own. It runs when something arrives (a timer, a reply, a
 * message), until no fiber has anything left to do. Nothing of it uses a promise or a timer of the host.
 */
import * as TestEdition from "#test-edition"
import * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as RandomModule from "./random.js"
import type { World } from "./world.js"

/** More tasks than this in one go are an endless loop. */
const tasksMax = 20_000

interface Arrival {
  readonly run: () => void
  readonly isTimer: boolean
}

export class Process {
  state: "running" | "paused" | "dead" = "running"
  readonly timers = new Set<() => void>()
  readonly crowd: TestEdition.Crowd
  private readonly start: ReturnType<typeof TestEdition.runOn>
  /** Milliseconds that it did not run, by the world's clock. */
  pausedMillis = 0
  /** Since when it runs, by the world's clock. */
  runsSince = 0
  private readonly tasks: Array<() => void> = []
  private readonly backlog: Array<Arrival> = []
  private pausedAt = 0
  private frozenMillis = 0

  constructor(
    readonly world: World,
    readonly name: string,
    /** How fast its clock goes. Less than 1 % off, or nothing is promised. */
    readonly rate: number,
    readonly startMillis: number
  ) {
    this.crowd = TestEdition.crowd((exit) => {
      // What a job dies of, its callers die of.
      if (
        Exit.isFailure(exit) && Cause.hasDies(exit.cause) && !/^Error: run \d/.test(String(Cause.squash(exit.cause)))
      ) {
        world.violate("no defect", `${name}: ${Cause.pretty(exit.cause)}`)
      }
    })
    const random = RandomModule.make(world.seed + Number(name.slice(1)) * 7_919)
    this.start = TestEdition.runOn({
      now: () => this.now(),
      // The wall clock is a trap (R23): it jumps about.
      wallMillis: () => this.world.random.between(0, 1e12),
      random: random.next,
      schedule: (task) => void this.tasks.push(task),
      timer: (millis, run) => this.timer(millis, run)
    }, this.crowd)
  }

  /** Where its messages go. */
  get inbox(): string {
    return `dlock:inbox:${this.name}`
  }

  /** Its monotonic clock, in milliseconds. */
  now(): number {
    return this.startMillis + (this.world.now - this.frozenMillis) * this.rate
  }

  /** Calls back when its own clock has gone on by so much, or a little later. Returns what cancels it. */
  timer(millis: number, run: () => void): () => void {
    if (millis === Infinity) return () => {}
    const due = this.now() + millis
    let item = this.world.after(millis / this.rate + this.world.timerLateness(), () => this.arrive(ring, true))
    const ring = (): void => {
      if (!this.timers.has(cancel)) return
      // A pause has stopped the clock meanwhile.
      if (this.now() < due - 0.01) {
        item = this.world.after((due - this.now()) / this.rate, () => this.arrive(ring, true))
        return
      }
      this.timers.delete(cancel)
      run()
    }
    const cancel = (): void => {
      item.cancelled = true
      this.timers.delete(cancel)
    }
    this.timers.add(cancel)
    return cancel
  }

  /** Something reaches the process, now or when it runs again. */
  arrive(run: () => void, isTimer = false): void {
    if (this.state === "dead") return
    if (this.state === "paused") {
      this.backlog.push({ run, isTimer })
      return
    }
    run()
    this.flush()
  }

  /** Everything in it runs with its clock, on its scheduler. */
  run<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    const fiber = this.start(effect)
    this.flush()
    return fiber
  }

  private flush(): void {
    let count = 0
    for (let task = this.tasks.shift(); task !== undefined && this.state === "running"; task = this.tasks.shift()) {
      task()
      if (++count > tasksMax) {
        this.world.violate("no endless loop", `${this.name} does not come to rest`)
        this.state = "dead"
      }
    }
  }

  pause(): void {
    if (this.state !== "running") return
    this.state = "paused"
    this.pausedAt = this.world.now
  }

  /** `frozen`: its clock has stood still, as in the suspend of a virtual machine. */
  resume(frozen: boolean): void {
    if (this.state !== "paused") return
    this.state = "running"
    this.runsSince = this.world.now
    const millis = this.world.now - this.pausedAt
    this.pausedMillis += millis
    if (frozen) this.frozenMillis += millis
    // What has come meanwhile is there at once: timers first or what the sockets have, as the host likes.
    const timersFirst = this.world.random.chance(0.5)
    const [first, then] = [true, false].map((isFirst) =>
      this.backlog.filter((one) => one.isTimer === timersFirst === isFirst)
    )
    this.backlog.length = 0
    for (const { isTimer, run } of [...first!, ...then!]) this.world.after(0, () => this.arrive(run, isTimer))
  }

  /** Ends as by SIGKILL: nothing of it runs again. What it has sent is on its way. */
  kill(): void {
    this.state = "dead"
    this.tasks.length = 0
    this.backlog.length = 0
  }
}
