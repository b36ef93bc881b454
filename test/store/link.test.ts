/** The link on a client that does only what the test says, so that every state of a connection can be played. */
import * as TestEdition from "#test-edition"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { Redis } from "ioredis"
import { EventEmitter } from "node:events"
import { inject } from "vitest"
import type { BackendError } from "../../src/DlockError.js"
import { PubSubLayer, RedisLayer } from "../../src/index.js"
import type { Client } from "../../src/internal/redis/driver.js"
import * as Link from "../../src/internal/redis/link.js"

const commandTimeout = Duration.seconds(5)

const later = () => {
  let resolve: (value: unknown) => void = () => {}
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<any>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

/** A client in that state. What it is asked waits for the test to answer. */
const play = (status: string, { db = 0, owned = true } = {}) => {
  let destroyed = 0
  const sent: Array<{ readonly command: string } & ReturnType<typeof later>> = []
  const send = (command: string): Promise<any> => {
    const answer = later()
    sent.push({ command, ...answer })
    return answer.promise
  }
  const client = Object.assign(new EventEmitter(), {
    status,
    stream: { destroy: () => void destroyed++, cork: () => {}, uncork: () => {} },
    options: { host: "redis.test", port: 6379, db },
    condition: { select: db },
    select: (db: number) => send(`select ${db}`),
    connect: () => {
      client.status = "connecting"
      return Promise.resolve()
    }
  })
  const become = (status: string, ...args: ReadonlyArray<unknown>) =>
    Effect.sync(() => {
      client.status = status === "close" ? "reconnecting" : status
      client.emit(status, ...args)
    })
  return {
    // SAFETY: all that the link uses of a client.
    connection: { client: client as unknown as Client, owned },
    destroyed: () => destroyed,
    commands: () => sent.map(({ command }) => command),
    /** To the last one that was sent. */
    reply: (reply: unknown) => Effect.andThen(Effect.sync(() => sent.at(-1)?.resolve(reply)), Effect.yieldNow),
    refuse: (words: string) =>
      Effect.andThen(
        Effect.sync(() => sent.at(-1)?.reject(Object.assign(new Error(words), { name: "ReplyError" }))),
        Effect.yieldNow
      ),
    become,
    /** An attempt to connect fails. */
    fail: Effect.andThen(
      Effect.sync(() => client.emit("error", new Error("connect ECONNREFUSED"))),
      become("close")
    ),
    /** Somebody else who uses the client does that. */
    selectElsewhere: (db: number) =>
      Effect.sync(() => {
        client.condition.select = db
        client.emit("select", db)
      }),
    /** Asks for something, and says how that ends. */
    ask: (link: Link.Link, command: string, options?: Link.CallOptions) =>
      Effect.forkChild(Effect.result(
        link.exchange(
          command,
          () => ({ send: () => send(command), receive: (reply) => Effect.succeed(reply) }),
          options
        )
      )).pipe(Effect.tap(Effect.yieldNow))
  }
}

const isOver = (fiber: Fiber.Fiber<unknown>) => Effect.map(TestEdition.poll(fiber), (exit) => exit._tag === "Some")

const failureOf = (fiber: Fiber.Fiber<Result.Result<unknown, BackendError>>) =>
  Effect.flatMap(Fiber.join(fiber), (result) => Effect.flip(Effect.fromResult(result)))

describe("a connection that dies", () => {
  it.effect("is destroyed, in whatever state it was found", () =>
    Effect.gen(function*() {
      for (const status of ["ready", "connect"]) {
        const { ask, connection, destroyed } = play(status)
        const link = yield* Link.make(connection, commandTimeout)
        const call = yield* ask(link, "test")
        yield* TestClock.adjust(commandTimeout)
        assert.strictEqual((yield* failureOf(call)).operation, "test")
        assert.strictEqual(destroyed(), 1, status)
      }
    }))

  it.effect("gets nothing any more, also before the driver has heard of it", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection, destroyed } = play("ready")
      const link = yield* Link.make(connection, commandTimeout)
      yield* ask(link, "1")
      yield* TestClock.adjust(commandTimeout)
      assert.strictEqual(destroyed(), 1)
      yield* ask(link, "2")
      // Its handshake may have ended in that very moment.
      yield* become("ready")
      assert.deepStrictEqual(commands(), ["1"])
      yield* become("close")
      yield* become("ready")
      assert.deepStrictEqual(commands(), ["1", "2"])
      assert.strictEqual(link.epoch(), 1)
    }))

  it.effect("in its handshake is destroyed, though nobody asks for anything", () =>
    Effect.gen(function*() {
      const { become, connection, destroyed } = play("connecting")
      yield* Link.make(connection, commandTimeout)
      yield* TestClock.adjust(commandTimeout)
      yield* become("connect")
      yield* TestClock.adjust(Duration.subtract(commandTimeout, Duration.millis(1)))
      assert.strictEqual(destroyed(), 0)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(destroyed(), 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(destroyed(), 1)
    }))

  it.effect("is not touched when it is the caller's", () =>
    Effect.gen(function*() {
      for (const status of ["ready", "connect", "connecting"]) {
        const { ask, connection, destroyed } = play(status, { owned: false })
        const link = yield* Link.make(connection, commandTimeout)
        const call = yield* ask(link, "test")
        yield* TestClock.adjust("1 minute")
        yield* failureOf(call)
        assert.strictEqual(destroyed(), 0)
      }
    }))

  it.effect("is not one that is only being opened: it has let nobody wait yet", () =>
    Effect.gen(function*() {
      const { ask, connection, destroyed } = play("connecting")
      const link = yield* Link.make(connection, commandTimeout)
      const call = yield* ask(link, "test")
      yield* TestClock.adjust(commandTimeout)
      yield* failureOf(call)
      assert.strictEqual(destroyed(), 0)
    }))
})

describe("what is asked before there is a connection", () => {
  it.effect("is sent when there is one, in order", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection, reply } = play("connecting")
      const link = yield* Link.make(connection, commandTimeout)
      yield* ask(link, "1")
      const second = yield* ask(link, "2")
      yield* become("connect")
      assert.deepStrictEqual(commands(), [])
      yield* become("ready")
      yield* ask(link, "3")
      assert.deepStrictEqual(commands(), ["1", "2", "3"])
      yield* reply("ok")
      assert.isFalse(yield* isOver(second))
    }))

  it.effect("and is not served in time was not applied, and is never sent", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection } = play("connecting")
      const link = yield* Link.make(connection, commandTimeout)
      const call = yield* ask(link, "late")
      yield* TestClock.adjust(commandTimeout)
      const error = yield* failureOf(call)
      assert.deepInclude({ ...error }, { reason: "Unreachable", outcome: "NotApplied" })
      assert.include(error.message, "redis.test:6379")
      yield* become("ready")
      assert.deepStrictEqual(commands(), [])
    }))

  it.effect("and was given up meanwhile is not sent (R47)", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection } = play("connecting")
      const link = yield* Link.make(connection, commandTimeout)
      let isWanted = true
      const call = yield* ask(link, "acquire", { isWanted: () => isWanted })
      yield* ask(link, "leave")
      isWanted = false
      yield* become("ready")
      assert.deepStrictEqual(commands(), ["leave"])
      assert.strictEqual((yield* failureOf(call)).outcome, "NotApplied")
    }))

  it.effect("opens the connection of a client that is lazy", () =>
    Effect.gen(function*() {
      const { ask, connection } = play("wait")
      const link = yield* Link.make(connection, commandTimeout)
      yield* ask(link, "test")
      assert.strictEqual(connection.client.status, "connecting")
    }))

  it.effect("fails at once when the driver has stopped trying", () =>
    Effect.gen(function*() {
      const { ask, become, connection, fail } = play("connecting")
      const link = yield* Link.make(connection, commandTimeout)
      const before = yield* ask(link, "before")
      yield* fail
      yield* become("end")
      const after = yield* ask(link, "after")
      for (const call of [before, after]) {
        const error = yield* failureOf(call)
        assert.deepInclude({ ...error }, { reason: "Unreachable", outcome: "NotApplied" })
        assert.include(error.message, "ECONNREFUSED")
      }
    }))

  it.effect("is sent again on the next connection when a driver without a queue would not take it", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection, refuse, reply } = play("ready")
      const link = yield* Link.make(connection, commandTimeout)
      const call = yield* ask(link, "test")
      yield* refuse("Stream isn't writeable and enableOfflineQueue options is false")
      assert.isFalse(yield* isOver(call))
      yield* become("close")
      yield* become("ready")
      assert.deepStrictEqual(commands(), ["test", "test"])
      yield* reply("ok")
      assert.deepStrictEqual((yield* Fiber.join(call))._tag, "Success")
    }))
})

describe("a connection that is away", () => {
  it.effect("is waited for, but by those that are not patient: they are told with the first attempt that fails", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection, fail } = play("connecting")
      const link = yield* Link.make(connection, commandTimeout)
      const patient = yield* ask(link, "patient")
      const first = yield* ask(link, "first", { patient: false })
      assert.isFalse(yield* isOver(first))
      yield* fail
      const second = yield* ask(link, "second", { patient: false })
      for (const call of [first, second]) {
        const error = yield* failureOf(call)
        assert.deepInclude({ ...error }, { reason: "Unreachable", outcome: "NotApplied" })
        assert.include(error.message, "cannot connect to Redis at redis.test:6379: connect ECONNREFUSED")
      }
      yield* become("connecting")
      yield* failureOf(yield* ask(link, "while it connects again", { patient: false }))
      yield* become("ready")
      assert.deepStrictEqual(commands(), ["patient"])
      assert.isFalse(yield* isOver(patient))
      yield* ask(link, "third", { patient: false })
      assert.deepStrictEqual(commands(), ["patient", "third"])
    }))

  it.effect("is not one that has just been lost: the next attempt may work", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection, fail } = play("ready")
      const link = yield* Link.make(connection, commandTimeout)
      yield* become("close")
      const call = yield* ask(link, "test", { patient: false })
      yield* become("ready")
      assert.deepStrictEqual(commands(), ["test"])
      yield* become("close")
      const next = yield* ask(link, "next", { patient: false })
      assert.isFalse(yield* isOver(next))
      const patient = yield* ask(link, "patient")
      yield* fail
      assert.strictEqual((yield* failureOf(next)).outcome, "NotApplied")
      // It had been sent, and nobody knows what became of it.
      assert.strictEqual((yield* failureOf(call)).outcome, "Unknown")
      assert.isFalse(yield* isOver(patient))
    }))

  it.effect("leaves a call that was sent to the patient: the driver sends it again", () =>
    Effect.gen(function*() {
      const { ask, become, connection, fail } = play("ready")
      const link = yield* Link.make(connection, commandTimeout)
      const call = yield* ask(link, "test")
      yield* become("close")
      yield* fail
      assert.isFalse(yield* isOver(call))
      yield* TestClock.adjust(commandTimeout)
      assert.strictEqual((yield* failureOf(call)).outcome, "Unknown")
    }))

  it.effect("is one that was silent in its handshake, and was destroyed", () =>
    Effect.gen(function*() {
      const { ask, become, connection, destroyed } = play("connecting")
      const link = yield* Link.make(connection, commandTimeout)
      yield* become("connect")
      yield* TestClock.adjust(commandTimeout)
      assert.strictEqual(destroyed(), 1)
      const error = yield* failureOf(yield* ask(link, "test", { patient: false }))
      assert.include(error.message, "was not ready within 5s")
      const epoch = link.epoch()
      yield* become("close")
      assert.strictEqual(link.epoch(), epoch)
      yield* become("connect")
      yield* become("close")
      assert.strictEqual(link.epoch(), epoch + 1)
    }))

  it.effect("because the server will not let us in fails all calls at once, in its words", () =>
    Effect.gen(function*() {
      const { ask, become, connection } = play("connect")
      const link = yield* Link.make(connection, commandTimeout)
      const before = yield* ask(link, "before")
      const refusal = Object.assign(new Error("WRONGPASS invalid username-password pair."), { name: "ReplyError" })
      yield* Effect.sync(() => connection.client.emit("error", refusal))
      yield* become("close")
      const after = yield* ask(link, "after")
      for (const call of [before, after]) {
        const error = yield* failureOf(call)
        assert.deepInclude({ ...error }, { reason: "Refused", outcome: "NotApplied" })
        assert.include(error.message, "WRONGPASS")
      }
    }))
})

describe("a connection to a database other than 0", () => {
  it.effect("is used once SELECT has worked, also one that was ready before", () =>
    Effect.gen(function*() {
      for (const status of ["ready", "connecting"]) {
        const { ask, become, commands, connection, reply } = play(status, { db: 3 })
        const link = yield* Link.make(connection, commandTimeout, 3)
        yield* ask(link, "test")
        if (status !== "ready") yield* become("ready")
        assert.deepStrictEqual(commands(), ["select 3"])
        yield* reply("OK")
        assert.deepStrictEqual(commands(), ["select 3", "test"])
      }
    }))

  it.effect("is not used when SELECT was refused, and is tried again with the next call", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection, refuse, reply } = play("connecting", { db: 3 })
      const link = yield* Link.make(connection, commandTimeout, 3)
      const first = yield* ask(link, "first")
      yield* become("ready")
      yield* refuse("NOPERM this user has no permissions to run the 'select' command")
      const error = yield* failureOf(first)
      assert.deepInclude({ ...error }, { reason: "Refused", outcome: "NotApplied" })
      assert.include(error.message, "database 3")
      yield* ask(link, "second")
      assert.deepStrictEqual(commands(), ["select 3", "select 3"])
      yield* reply("OK")
      assert.deepStrictEqual(commands(), ["select 3", "select 3", "second"])
    }))

  it.effect("is not believed before: what the driver has sent again by itself may have run in database 0", () =>
    Effect.gen(function*() {
      for (const works of [true, false]) {
        const { become, connection, refuse, reply } = play("ready", { db: 3 })
        const link = yield* Link.make(connection, commandTimeout, 3)
        yield* reply("OK")
        const answer = later()
        const call = yield* Effect.forkChild(Effect.result(link.run("test", () => answer.promise)))
        yield* Effect.yieldNow
        yield* become("close")
        yield* become("ready")
        answer.resolve("granted")
        yield* Effect.yieldNow
        assert.isFalse(yield* isOver(call))
        yield* (works ? reply("OK") : refuse("NOPERM"))
        const result = yield* Fiber.join(call)
        if (works) assert.isTrue(Result.isSuccess(result))
        else {assert.deepInclude({ ...(yield* Effect.flip(Effect.fromResult(result))) }, {
            reason: "Refused",
            outcome: "Unknown"
          })}
      }
    }))

  it.effect("is used after the driver has sent again what it had sent before, and not while it does", () =>
    Effect.gen(function*() {
      const { ask, become, commands, connection, selectElsewhere } = play("ready", { db: 0, owned: false })
      const link = yield* Link.make(connection, commandTimeout, 0)
      yield* become("close")
      yield* ask(link, "leave")
      // On its way to ready the driver goes from database to database, for each command that it sends again.
      connection.client.status = "ready"
      yield* selectElsewhere(3)
      yield* selectElsewhere(0)
      assert.deepStrictEqual(commands(), [])
      yield* become("ready")
      assert.deepStrictEqual(commands(), ["leave"])
    }))

  it.effect("is not used while somebody else has it in another one, and is not taken back", () =>
    Effect.gen(function*() {
      const { ask, commands, connection, reply, selectElsewhere } = play("ready", { db: 3, owned: false })
      const link = yield* Link.make(connection, commandTimeout, 3)
      yield* reply("OK")
      yield* selectElsewhere(0)
      const call = yield* ask(link, "waits")
      const late = yield* ask(link, "late")
      assert.deepStrictEqual(commands(), ["select 3"])
      yield* selectElsewhere(3)
      yield* reply("OK")
      assert.deepStrictEqual(commands(), ["select 3", "select 3", "waits", "late"])
      yield* selectElsewhere(7)
      const never = yield* ask(link, "never")
      yield* TestClock.adjust(commandTimeout)
      const error = yield* failureOf(never)
      assert.deepInclude({ ...error }, { reason: "RefusedForNow", outcome: "NotApplied" })
      assert.include(error.message, "has left database 3 for 7")
      yield* Effect.all([failureOf(call), failureOf(late)])
      assert.lengthOf(commands(), 4)
    }))
})

it.effect("closing settles what is under way, what waits, and what is asked afterwards", () =>
  Effect.gen(function*() {
    const scope = yield* Scope.make()
    const { ask, become, connection } = play("ready")
    const link = yield* Scope.provide(Link.make(connection, commandTimeout), scope)
    const sent = yield* ask(link, "sent")
    yield* become("close")
    const waiting = yield* ask(link, "waiting")
    yield* Scope.close(scope, Exit.void)
    const after = yield* ask(link, "after")
    assert.deepInclude({ ...(yield* failureOf(sent)) }, { reason: "Unreachable", outcome: "Unknown" })
    for (const call of [waiting, after]) {
      assert.deepInclude({ ...(yield* failureOf(call)) }, { reason: "Unreachable", outcome: "NotApplied" })
    }
  }))

it.effect("a client that many layers share has one listener for each event, and none when they are closed", () =>
  Effect.gen(function*() {
    const { become, connection } = play("ready")
    const { client } = connection
    const scope = yield* Scope.make()
    const links = yield* Effect.forEach(
      Array.from({ length: 12 }),
      () => Scope.provide(Link.make(connection, commandTimeout), scope)
    )
    const events = client.eventNames()
    assert.includeMembers(events, ["close", "error"])
    for (const event of events) assert.strictEqual(client.listenerCount(event), 1, String(event))
    yield* become("close")
    for (const link of links) assert.strictEqual(link.epoch(), 1)
    yield* Scope.close(scope, Exit.void)
    assert.deepStrictEqual(client.eventNames(), [])
  }))

it.live("the driver's own time limit is not used: it would fail commands and keep a dead connection", () =>
  Effect.gen(function*() {
    // SAFETY: the type does not have it, but a program may say it all the same.
    const options = { url: inject("redisUrl"), commandTimeout: 1 } as RedisLayer.Options
    const theirs = yield* Effect.acquireRelease(
      Effect.sync(() => new Redis(inject("redisUrl"), { commandTimeout: 1, lazyConnect: true })),
      (client) => Effect.sync(() => client.disconnect())
    )
    for (const layer of [RedisLayer.layer(options), RedisLayer.layerClient(theirs)]) {
      const context = yield* Layer.build(Layer.provideMerge(PubSubLayer.layer, layer))
      const commands = Context.get(context, RedisLayer.Redis).client
      const messages = Context.get(context, PubSubLayer.PubSub).client
      assert.strictEqual(commands.options.commandTimeout, commands === theirs ? 1 : undefined)
      assert.isUndefined(messages.options.commandTimeout)
    }
  }))
