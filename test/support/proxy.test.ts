import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import * as net from "node:net"
import { buffer } from "node:stream/consumers"
import { closed, isPendingAfter, outcome, proxied } from "./fixtures/proxied.js"
import { startProxy } from "./proxy.js"
import { waitFor } from "./redisSpy.js"

const context = proxied()

describe("a proxy without faults", () => {
  it("forwards large requests, large replies and messages", async () => {
    const { connect, key } = context
    const [client, subscriber] = [await connect(), await connect()]
    const large = Buffer.alloc(8 << 20, "abc")
    await client.set(key, large)
    assert.isTrue(large.equals((await client.getBuffer(key))!))
    const message = once(subscriber, "message")
    await subscriber.subscribe(key)
    await client.publish(key, "hello")
    assert.deepStrictEqual(await message, [key, "hello"])
  })

  it("counts connections, live and total", async () => {
    const { connect, proxy } = context
    const clients = await Promise.all([connect(), connect(), connect()])
    assert.deepStrictEqual([proxy.connections(), proxy.totalConnections()], [3, 3])
    clients[0]!.disconnect()
    await waitFor(() => proxy.connections() === 2)
    assert.strictEqual(proxy.totalConnections(), 3)
  })

  it("forwards the end of one direction and keeps the other open", async () => {
    const { socketTo } = context
    const target = net.createServer({ allowHalfOpen: true }, (socket) => {
      let length = 0
      socket.on("data", (chunk) => length += chunk.length)
      socket.on("end", () => socket.end(String(length)))
    })
    await once(target.listen(0, "127.0.0.1"), "listening")
    const halfClosing = await startProxy((target.address() as net.AddressInfo).port)
    const socket = await socketTo(halfClosing.port)
    socket.end(Buffer.alloc(5_000_000))
    assert.strictEqual(String(await buffer(socket)), "5000000")
    await waitFor(() => halfClosing.connections() === 0)
    await halfClosing.close()
    await new Promise((resolve) => target.close(resolve))
  })

  it("passes on that the server is down", async () => {
    const { socketTo } = context
    const nowhere = await startProxy(1)
    await closed(await socketTo(nowhere.port))
    await nowhere.close()
  })

  it("close ends all connections, and rejects a cut nobody triggered", async () => {
    const { connect, proxy } = context
    const client = await connect()
    const cut = proxy.cutAfter("never", "mid-reply")
    const end = closed(client)
    await proxy.close()
    await end
    assert.match(await cut.then(() => "cut", String), /closed before the cut/)
  })
})

describe("cutAfter", () => {
  it("request-forwarded: the server acts, then the client is cut without a reply", async () => {
    const { connect, direct, key, proxy } = context
    for (let round = 1; round <= 100; round++) {
      const client = await connect()
      const cut = proxy.cutAfter("INCR", "request-forwarded")
      const reply = outcome(client.incr(key))
      await cut
      assert.strictEqual(await direct.get(key), String(round))
      assert.strictEqual(await reply, "failed")
    }
  })

  it("mid-reply: the server acts, and the client gets one byte of the reply", async () => {
    const { direct, key, proxy, socketTo } = context
    for (let round = 1; round <= 100; round++) {
      const socket = await socketTo()
      const cut = proxy.cutAfter(Buffer.from("INCR"), "mid-reply")
      socket.write(`INCR ${key}\r\n`)
      assert.strictEqual(String(await buffer(socket)), ":")
      socket.end()
      await cut
      assert.strictEqual(await direct.get(key), String(round))
    }
  })

  it("mid-reply: fails the command of a real client", async () => {
    const { connect, direct, key, proxy } = context
    const client = await connect()
    const cut = proxy.cutAfter((chunk) => chunk.includes(key), "mid-reply")
    const reply = outcome(client.set(key, "v"))
    await cut
    assert.strictEqual(await reply, "failed")
    assert.strictEqual(await direct.get(key), "v")
  })

  it("leaves other requests and other connections alone, and cuts once", async () => {
    const { connect, key, proxy } = context
    const [client, other] = [await connect(), await connect()]
    const cut = proxy.cutAfter("set", "request-forwarded")
    await Promise.all([client.get(key), other.get(key)])
    assert.strictEqual(await outcome(client.set(key, "v")), "failed")
    await cut
    assert.strictEqual(await other.set(key, "v"), "OK")
  })

  it("waits for a frozen server, so that the command has been executed", async () => {
    const { connect, direct, key, proxy, server } = context
    const client = await connect()
    server.freeze()
    const cut = proxy.cutAfter("set", "request-forwarded")
    const reply = outcome(client.set(key, "v"))
    assert.isTrue(await isPendingAfter(30, Promise.race([cut, reply])))
    server.thaw()
    await cut
    assert.strictEqual(await direct.get(key), "v")
  })
})

describe("killAll, refuse and delay", () => {
  it("killAll resets, or ends in good order", async () => {
    const { proxy, socketTo } = context
    const endings = []
    for (const fin of [false, true]) {
      const socket = await socketTo()
      socket.write("PING\r\n")
      await once(socket, "data")
      proxy.killAll({ fin })
      endings.push(await once(socket, "end").then(() => "end", (error: NodeJS.ErrnoException) => error.code))
    }
    assert.deepStrictEqual(endings, ["ECONNRESET", "end"])
  })

  it("refuse closes new connections at once and keeps the old", async () => {
    const { connect, proxy } = context
    const client = await connect()
    proxy.refuse()
    assert.strictEqual(await outcome(connect()), "failed")
    assert.strictEqual(await client.ping(), "PONG")
    assert.deepStrictEqual([proxy.connections(), proxy.totalConnections()], [1, 2])
    proxy.accept()
    assert.strictEqual(await (await connect()).ping(), "PONG")
  })

  it("delay takes its time each way, and keeps the order", async () => {
    const { connect, direct, key, proxy } = context
    const client = await connect()
    const arrived = new Promise<void>((resolve) => proxy.filter(() => (resolve(), false)))
    proxy.delay(40)
    const start = performance.now()
    const first = client.append(key, "a")
    await arrived
    assert.isNull(await direct.get(key))
    proxy.delay(0)
    assert.deepStrictEqual(await Promise.all([first, client.append(key, "b")]), [1, 2])
    assert.isAtLeast(performance.now() - start, 40)
    proxy.delay(40)
    const again = performance.now()
    await client.get(key)
    assert.isAtLeast(performance.now() - again, 80)
  })
})

describe("filters", () => {
  it("onlySubscribers leaves the commands alone", async () => {
    const { connect, key, proxy } = context
    const [client, subscriber] = [await connect(), await connect()]
    await subscriber.subscribe(key)
    const subscribers = proxy.onlySubscribers()
    assert.deepStrictEqual([subscribers.connections(), proxy.connections()], [1, 2])
    const messages: Array<string> = []
    subscriber.on("message", (_, message) => messages.push(message))
    subscribers.stall()
    for (const message of ["1", "2", "3"]) assert.strictEqual(await client.publish(key, message), 1)
    assert.isTrue(await isPendingAfter(30, once(subscriber, "message")))
    subscribers.heal({ deliver: true })
    await waitFor(() => messages.length === 3)
    assert.deepStrictEqual(messages, ["1", "2", "3"])
    const end = closed(subscriber)
    subscribers.killAll()
    await end
    assert.strictEqual(await client.ping(), "PONG")
  })

  it("a stall on subscribers holds the SUBSCRIBE of a later connection, a refusal resets it", async () => {
    const { connect, direct, key, proxy } = context
    const subscribers = proxy.onlySubscribers()
    const client = await connect()
    subscribers.stall()
    const held = (await connect()).subscribe(key)
    assert.isTrue(await isPendingAfter(30, held))
    assert.deepStrictEqual(await direct.pubsub("NUMSUB", key), [key, 0])
    subscribers.heal({ deliver: true })
    await held
    subscribers.refuse()
    assert.strictEqual(await outcome((await connect()).subscribe(key)), "failed")
    assert.strictEqual(await client.ping(), "PONG")
  })

  it("filter picks connections by what they send from now on", async () => {
    const { connect, direct, key, proxy } = context
    const [one, two] = [await connect(), await connect()]
    const chosen = proxy.filter((chunk) => chunk.includes(key))
    chosen.stallDown()
    const reply = one.set(key, "v")
    await waitFor(() => direct.get(key), 1000)
    assert.isTrue(await isPendingAfter(30, reply))
    assert.strictEqual(await two.ping(), "PONG")
    proxy.stall()
    chosen.heal({ deliver: true })
    assert.isTrue(await isPendingAfter(30, reply))
    proxy.heal({ deliver: true })
    assert.strictEqual(await reply, "OK")
  })
})
