/** What goes wrong, and when. Each seed has a few kinds of trouble of its own: some only show where others are absent. */
import { parseKey } from "./asked.js"
import * as Refusals from "./refusals.js"
import type { Member, World } from "./world.js"

export interface Hands {
  /** Kills the process, and lets another one begin. */
  readonly kill: (member: Member) => void
  /** Closes the service in the process, and lets another one begin. */
  readonly close: (member: Member) => void
}

type Trouble = (world: World, hands: Hands) => void

const someone = (world: World): Member | undefined => {
  const running = world.members.filter(({ process }) => process.state === "running")
  return running.length === 0 ? undefined : world.random.pick(running)
}

const toSomeone = (act: (member: Member, world: World, hands: Hands) => void): Trouble => (world, hands) => {
  const member = someone(world)
  if (member) act(member, world, hands)
}

const pause = (millisMax: number, frozen: boolean): Trouble =>
  toSomeone((member, world) => {
    const { process } = member
    process.pause()
    world.log(process.name, () => frozen ? "is suspended" : "is paused")
    if (frozen) world.judge.taint(process)
    world.after(world.random.between(10, millisMax), () => {
      if (process.state !== "paused") return
      world.log(process.name, () => "goes on")
      process.resume(frozen)
    })
  })

/** The server is away for a while, and comes back with the data that `restore` gives it. */
const outage = (restore: (world: World) => void): Trouble => (world) => {
  const { server } = world
  if (!server.isUp) return
  server.stop()
  world.log("server", () => "is down")
  for (const { pubSub, redis } of world.members) {
    redis.cut()
    pubSub.cut()
  }
  world.after(world.random.between(10, 1_500), () => {
    restore(world)
    server.isUp = true
    world.log("server", () => "is up")
  })
}

const loseData = (world: World): void => {
  world.server.backend.clear()
  world.judge.onDataLost()
  world.log("server", () => "has lost its data")
}

/** What was granted or renewed before ends sooner than it should. */
const stepForward = (world: World, millis: number): void => {
  world.server.offsetMillis += millis
  world.judge.taint()
  world.log("server", () => `sees its clock step by ${millis} ms`)
}

export const troubles: Readonly<Record<string, Trouble>> = {
  "requests stall": toSomeone(({ process, redis }, world) => {
    world.log(process.name, () => "is not heard")
    redis.toServer.heldUntil = world.now + world.random.between(50, 3_000)
  }),
  "replies stall": toSomeone(({ process, redis }, world) => {
    world.log(process.name, () => "hears no replies")
    redis.toClient.heldUntil = world.now + world.random.between(50, 3_000)
  }),
  "messages stall": toSomeone(({ process, pubSub }, world) => {
    world.log(process.name, () => "hears no messages")
    pubSub.toClient.heldUntil = world.now + world.random.between(50, 3_000)
  }),
  "connection cut": toSomeone(({ redis }) => redis.cut()),
  "subscriber lost": toSomeone(({ pubSub }) => pubSub.cut()),
  "subscriber half-open": toSomeone(({ process, pubSub }, world) => {
    world.log(process.name, () => "loses its subscription, and the server does not know")
    pubSub.cut(world.random.between(50, 2_000))
  }),
  "subscriber silent": toSomeone(({ process, pubSub }, world) => {
    world.log(process.name, () => "has a silent subscription")
    pubSub.isSilent = true
  }),
  "crash": toSomeone((member, _world, hands) => hands.kill(member)),
  "close": toSomeone((member, _world, hands) => hands.close(member)),
  "pause": pause(4_000, false),
  "hiccup": pause(150, false),
  "suspend": pause(4_000, true),
  "server stall": (world) => {
    world.server.stall(world.random.between(50, 3_000))
    world.log("server", () => "is paused")
  },
  "restart": outage(() => {}),
  "restart without data": outage(loseData),
  "failover": (world, hands) => {
    // The replica has what the primary had a while ago.
    const restore = world.server.backend.snapshot()
    world.after(world.random.between(1, 1_000), () =>
      outage(() => {
        restore()
        world.judge.onDataLost()
        world.log("server", () => "is a replica that lacks the last writes")
      })(world, hands))
  },
  "flush": (world) => {
    loseData(world)
    // Not in the very microsecond of the last grant.
    world.server.stall(1)
  },
  "server clock step": (world) => {
    const millis = world.random.between(100, 3_000)
    stepForward(world, millis)
  },
  "server clock back": (world) => {
    const { random, server } = world
    const millis = random.between(1, random.pick([20, 3_000, 30_000]))
    server.stepBack(millis)
    // Somebody sets it right again, or nobody does.
    if (random.chance(0.5)) world.after(random.between(50, 6_000), () => stepForward(world, millis))
  },
  "refusals": (world) => {
    const { server } = world
    server.refusesUntil = world.now + world.random.between(50, 2_000)
    server.refusesWith = Refusals.anyWords(world.random)
    world.log("server", () => `refuses everything: ${server.refusesWith}`)
  },
  "calls refused": ({ random, server }) => {
    const refusal = Refusals.anyCallRefusal(random)
    server.callRefusal = refusal
    server.world.log("server", () => `refuses calls of scripts: ${refusal.words}`)
    server.world.after(random.between(50, 2_000), () => {
      if (server.callRefusal === refusal) server.callRefusal = undefined
    })
  },
  "memory full": (world) => {
    world.server.fullUntil = world.now + world.random.between(50, 2_000)
    world.log("server", () => "has no memory left")
  },
  "key evicted": (world) => {
    const { backend } = world.server
    const all = backend.keys?.() ?? []
    // Nearly all that stays for long are fences.
    const others = all.filter((key) => !key.endsWith(":fence"))
    const keys = world.random.chance(0.9) && others.length > 0 ? others : all
    world.part()
    if (keys.length === 0) return
    const key = world.random.pick(keys)
    const { kind, part } = parseKey(key)
    world.log("server", () => `evicts ${key}`)
    world.count(`evicted ${part} of ${kind === "flight" ? "a flight" : "a lock"}`)
    world.judge.onEvicted(parseKey(key))
    backend.evict?.(key)
  },
  "scripts forgotten": ({ random, server }) => {
    // All, or all but what others have asked for again.
    const shas = [...server.scripts]
    if (random.chance(0.5) || shas.length === 0) server.scripts.clear()
    else server.scripts.delete(random.pick(shas))
    server.world.log("server", () => `has forgotten ${shas.length - server.scripts.size} scripts`)
  },
  "outcomes refused": (world) => {
    world.server.refusesOutcomesUntil = world.now + world.random.between(50, 2_000)
    world.log("server", () => "has no memory for outcomes")
  },
  "foreign key": (world) => {
    const [kind, key] = world.random.pick([["lock", "k0"], ["lock", "k1"], ["flight", "f0"]] as const)
    const { backend } = world.server
    backend.unspoil()
    backend.spoil({ kind, key })
    world.log("server", () => `has a foreign key at ${kind}:${key}`)
    world.after(world.random.between(50, 2_000), () => backend.unspoil())
  }
}

/** What only a store that plays scripts knows. Half of the worlds are without, and have the same history on both stores. */
const ofScripts = new Set(["calls refused", "memory full", "key evicted"])

/** Begins to make trouble, until the world closes. */
export const unleash = (world: World, hands: Hands): void => {
  const { random } = world
  const all = Object.keys(troubles).filter((kind) => world.seed % 2 === 0 || !ofScripts.has(kind))
  const kinds = all.filter(() => random.chance(0.25))
  if (kinds.length === 0) kinds.push(random.pick(all))
  if (random.chance(0.4)) world.rates.messageLost = random.pick([0.02, 0.2, 1])
  if (random.chance(0.4)) world.rates.messageDoubled = 0.2
  if (random.chance(0.4)) world.rates.messageLate = random.pick([0.1, 0.5])
  if (random.chance(0.3)) world.lateTimers = 0.05
  world.log("", () => `troubles: ${kinds.join(", ")}; ${JSON.stringify(world.rates)}`)
  const everyMillis = random.pick([300, 1_000, 2_500])
  const next = (): void => {
    world.after(random.between(0, 2 * everyMillis), () => {
      if (world.isClosing) return
      const kind = random.pick(kinds)
      world.count(kind)
      troubles[kind]!(world, hands)
      next()
    })
  }
  next()
}

/** Ends all trouble that does not end by itself. */
export const heal = (world: World): void => {
  const { server } = world
  world.rates = { messageLost: 0, messageDoubled: 0, messageLate: 0 }
  world.lateTimers = 0
  server.refusesUntil = 0
  server.refusesOutcomesUntil = 0
  server.callRefusal = undefined
  server.fullUntil = 0
  server.backend.unspoil()
  for (const { pubSub, redis } of world.members) {
    for (const stream of [redis.toServer, redis.toClient, pubSub.toClient]) stream.heldUntil = 0
    if (pubSub.isSilent) pubSub.cut()
  }
}
