/** What those who fan out do: at random, over one or two ids, until the world closes. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Dlock from "../../../src/Dlock.js"
import type { Flights } from "../../../src/internal/engine/flights.js"
import type { Random } from "../random.js"
import type { Member, World } from "../world.js"
import { push } from "./pushes.js"

/** What differs from one seed to the next. */
export interface FlightHabits {
  readonly ids: number
  readonly ttls: ReadonlyArray<number>
  /** The longest pause between two calls. */
  readonly idleMillis: number
  /** Some jobs never end, so nobody waits for ever. */
  readonly endless: boolean
  /** How often a job is at the mercy of something slow. */
  readonly slow: number
  readonly keeps: boolean
  /** Jobs run also where the server is away. */
  readonly runsAlone: boolean
}

export const habitsOf = (random: Random): FlightHabits => ({
  ids: random.pick([1, 1, 2]),
  ttls: random.pick([[300], [300, 900], [900, 3_000], [3_000]]),
  idleMillis: random.pick([5, 200, 1_000]),
  endless: random.chance(0.4),
  slow: random.pick([0, 0.2, 0.6]),
  keeps: random.chance(0.2),
  runsAlone: random.chance(0.4)
})

/** How much later than promised a caller may hear: late timers, and what waits behind them. */
const slackMillis = 400
/** As Effect.never, without its timer of the host. */
const endless = Effect.callback<never>(() => {})
/** More than what is sent unasked. */
const large = "x".repeat(66_000)

type Said = { readonly run: string; readonly pad?: string }

export class FlightCaller {
  constructor(
    readonly world: World,
    readonly member: Member,
    readonly flights: Flights,
    readonly service: Pick<Dlock.Service, "fanout" | "push">,
    readonly habits: FlightHabits,
    readonly commandTimeoutMillis: number
  ) {}

  readonly program: Effect.Effect<void> = Effect.suspend(() => {
    if (this.world.isClosing || this.flights.closed) return Effect.void
    return this.sleep(this.habits.idleMillis).pipe(
      Effect.andThen(Effect.suspend(() => this.once)),
      Effect.andThen(this.program)
    )
  })

  sleep(millisMax: number): Effect.Effect<void> {
    return Effect.suspend(() => Effect.sleep(Duration.millis(this.world.random.between(0, millisMax))))
  }

  get once(): Effect.Effect<void> {
    const { habits, member: { process }, world } = this
    const { random } = world
    if (random.chance(0.15)) return push(world, process, this.flights, this.service, habits)
    const id = `f${random.index(habits.ids)}`
    const ttl = random.pick(habits.ttls)
    const keep = habits.keeps && random.chance(0.5) ? random.between(50, 1_000) : 0
    const timeout = habits.endless || random.chance(0.4) ? random.between(1, random.pick([100, 4_000])) : Infinity
    const asker = world.flights.onAsk(process, id, keep)
    const pausedBefore = process.pausedMillis
    world.count("fanouts")
    world.log(process.name, () => `asks for ${id}`)
    const runsAlone = habits.runsAlone && random.chance(0.7)
    const onBackendError = runsAlone ? "run" : "fail"
    const asked = this.service.fanout(id, this.job(id, ttl), { ttl, keep, onBackendError })
    const timely = timeout === Infinity ? Effect.asSome(asked) : Effect.timeoutOption(asked, Duration.millis(timeout))
    return Effect.flatMap(Effect.exit(timely), (exit) =>
      Effect.sync(() => {
        world.flights.onSettled(asker)
        const took = world.now - asker.arrivedAt - (process.pausedMillis - pausedBefore)
        if (took > timeout * 1.02 + slackMillis) {
          world.violate("every call settles in time", `${process.name}: fanout took ${took} of ${timeout}`)
        }
        const told = this.toldOf(exit, runsAlone)
        if (told !== undefined) {
          world.flights.onTold(asker, told, this.commandTimeoutMillis + slackMillis + process.pausedMillis)
        }
      }))
  }

  /** What names the run, if a job has produced it. */
  private toldOf(exit: Exit.Exit<Option.Option<Said>, unknown>, runsAlone: boolean): string | undefined {
    const { member: { process }, world } = this
    if (Exit.isSuccess(exit)) return Option.getOrUndefined(exit.value)?.run
    const error: any = Cause.squash(exit.cause)
    const text = String(error?.run ?? error?.message)
    if (/run \d+/.test(text)) return text
    world.log(process.name, () => `is told ${error?._tag} ${error?.reason}`)
    world.count(`${error?._tag} of fanouts`)
    const isFine = (error?._tag === "BackendError" && (!runsAlone || this.flights.closed)) ||
      (error?._tag === "FanoutError" && error.reason === "Refused")
    if (!isFine) world.violate("no defect", `${process.name}: ${String(exit.cause)}`)
    return undefined
  }

  private job(id: string, ttl: number): Effect.Effect<Said, Said> {
    const { habits, world } = this
    const { random } = world
    const length = random.pick(["instant", "short", "short", "long", habits.endless ? "endless" : "short"])
    const way = random.pick(["success", "success", "success", "large", "failure", "defect"])
    const wait = length === "instant"
      ? Effect.void
      : length === "short"
      ? this.sleep(250)
      : length === "long"
      ? Effect.sleep(Duration.millis(ttl * random.between(0.8, 1.5)))
      : endless
    const isSlow = random.chance(habits.slow)
    const slowly = isSlow ? Effect.onInterrupt(wait, () => this.sleep(ttl * random.pick([0.5, 2]))) : wait
    return Effect.suspend(() => {
      const run = world.flights.onBegin(this.member.process, id, this.flights.open.get(id)?.alone === true)
      const name = { run: `run ${run.name}` }
      const end = way === "failure"
        ? Effect.fail(name)
        : way === "defect"
        ? Effect.die(new Error(name.run))
        : Effect.succeed(way === "large" ? { ...name, pad: large } : name)
      return Effect.ensuring(Effect.andThen(slowly, end), Effect.sync(() => world.flights.onEnd(run)))
    })
  }
}
