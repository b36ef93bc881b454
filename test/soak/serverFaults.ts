/** What befalls Redis, and with it everybody. One at a time: each is over when its effect is. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Redis as Client } from "ioredis"
import type { World } from "./world.js"
import { asAdmin, follows, forgetting, rights, ttl } from "./world.js"

type Faulty = (world: World) => Effect.Effect<void, never, Scope.Scope>

/** For so long that some leases end, or only some calls. */
const aWhile = ({ random }: World) =>
  Effect.sleep(random.chance(0.5) ? random.between(50, 400) : random.between(400, 2 * ttl))

const admin = (world: World, use: (client: Client) => Promise<unknown>) => Effect.asVoid(asAdmin(world.primary, use))

const aWhileOf = (
  begin: (client: Client) => Promise<unknown>,
  end: (client: Client) => Promise<unknown>
): Faulty =>
(world) => admin(world, begin).pipe(Effect.andThen(aWhile(world)), Effect.andThen(admin(world, end)))

const allow = (client: Client) => client.acl("SETUSER", "app", "reset", ...rights)

const denied = (...rules: ReadonlyArray<string>) => aWhileOf((client) => client.acl("SETUSER", "app", ...rules), allow)

const lockKey = (part: string) => `dlock:lock:{k:lock}:${part}`

/** The data of a lock is gone, and a list is in its place. */
const foreign = (client: Client) =>
  client.multi().del(...["fence", "state", "held", "queue", "alive"].map(lockKey)).lpush(lockKey("state"), "foreign")
    .exec()

/** The replica is promoted, and lacks what the primary was told in the last moments. */
const failover: Faulty = (world) =>
  Effect.gen(function*() {
    yield* forgetting(
      world,
      Effect.gen(function*() {
        yield* asAdmin(world.replica, (client) => client.replicaof("NO", "ONE"))
        yield* Effect.sleep(world.random.between(0, 300))
        yield* Effect.promise(() => world.primary.kill())
      })
    )
    yield* Effect.sleep(world.random.between(0, 300))
    const { primary, replica } = world
    world.primary = replica
    world.replica = primary
    for (const { proxy } of world.processes) proxy.retarget(replica.port)
    yield* Effect.promise(() => primary.restart())
    yield* follows(world)
  })

/** As a primary that was demoted, and is back. */
const demoted: Faulty = aWhileOf(
  (client) => client.replicaof("127.0.0.1", 1),
  (client) => client.replicaof("NO", "ONE")
)

const restart = (keepData: boolean): Faulty => (world) =>
  Effect.gen(function*() {
    yield* Effect.promise(() => world.primary.kill())
    if (world.random.chance(0.5)) yield* aWhile(world)
    yield* Effect.promise(() => world.primary.restart({ keepData }))
  })

const frozen: Faulty = (world) =>
  Effect.acquireUseRelease(
    Effect.sync(() => world.primary.freeze()),
    () => aWhile(world),
    () => Effect.sync(() => world.primary.thaw())
  )

const forgetful = (fault: Faulty): Faulty => (world) => forgetting(world, fault(world))

export const serverFaults: { readonly [kind: string]: Faulty } = {
  "Redis: stopped (SIGSTOP)": frozen,
  "Redis: killed and started with its data": restart(true),
  "Redis: killed and started empty": forgetful(restart(false)),
  "Redis: FLUSHALL": forgetful((world) => admin(world, (client) => client.flushall())),
  "Redis: failover to a replica that lags": failover,
  "Redis: SCRIPT FLUSH": (world) =>
    Effect.repeat(Effect.andThen(admin(world, (client) => client.script("FLUSH")), Effect.sleep(20)), { times: 10 }),
  "Redis: CLIENT KILL, commands": (world) => admin(world, (client) => client.client("KILL", "TYPE", "NORMAL")),
  "Redis: CLIENT KILL, subscribers": (world) => admin(world, (client) => client.client("KILL", "TYPE", "PUBSUB")),
  "Redis: OOM": aWhileOf(
    (client) => client.config("SET", "maxmemory", "1"),
    (client) => client.config("SET", "maxmemory", "0")
  ),
  "Redis: READONLY": demoted,
  "Redis: NOPERM, scripts": denied("-eval", "-evalsha"),
  "Redis: NOPERM, keys": denied("resetkeys", "~foreign:*"),
  "Redis: NOPERM, a command inside scripts": denied("-hset"),
  "Redis: NOPERM, subscribe": (world) =>
    Effect.andThen(
      admin(world, (client) => client.client("KILL", "TYPE", "PUBSUB")),
      denied("-subscribe", "-publish")(world)
    ),
  "Redis: WRONGTYPE": forgetful(aWhileOf(foreign, (client) => client.del(lockKey("state"))))
}
