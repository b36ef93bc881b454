import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import { closed, isPendingAfter, outcome, proxied } from "./fixtures/proxied.js"
import { waitFor } from "./redisSpy.js"

const context = proxied()

describe("stall", () => {
  it("stalls present and new connections, and healing resets them and lets newer ones through", async () => {
    const { connect, direct, key, proxy, socketTo } = context
    const client = await connect()
    proxy.stall()
    const reply = outcome(client.set(key, "v"))
    const late = await socketTo()
    const lateError = once(late, "error")
    late.write("PING\r\n")
    assert.isTrue(await isPendingAfter(50, Promise.race([reply, closed(late), once(late, "data")])))
    assert.strictEqual(proxy.connections(), 2)
    proxy.heal()
    assert.strictEqual(await reply, "failed")
    assert.strictEqual((await lateError)[0].code, "ECONNRESET")
    assert.strictEqual(await (await connect()).ping(), "PONG")
    assert.isNull(await direct.get(key))
  })

  it("heal with deliver brings all bytes, in order, and the connections live on", async () => {
    const { connect, key, proxy } = context
    const client = await connect()
    proxy.stall()
    const replies = Promise.all(["a", "b", "c"].map((part) => client.append(key, part)))
    const late = connect()
    assert.isTrue(await isPendingAfter(30, Promise.race([replies, late])))
    proxy.heal({ deliver: true })
    assert.deepStrictEqual(await replies, [1, 2, 3])
    assert.strictEqual(await (await late).get(key), "abc")
    assert.strictEqual(await client.get(key), "abc")
  })

  it("heal with deliver brings the requests of a client that has died since", async () => {
    const { connect, direct, key, proxy } = context
    const client = await connect()
    proxy.stall()
    void outcome(client.set(key, "from the dead"))
    await waitFor(() => client.stream.writableLength === 0)
    client.disconnect()
    await waitFor(() => proxy.connections() === 0)
    assert.isNull(await direct.get(key))
    proxy.heal({ deliver: true })
    await waitFor(() => direct.get(key), 1000)
  })

  it("heal with leaveDead tells the old connections nothing, ever", async () => {
    const { connect, direct, key, proxy } = context
    const client = await connect()
    proxy.stall()
    const reply = client.set(key, "v")
    proxy.heal({ leaveDead: true })
    assert.strictEqual(await (await connect()).ping(), "PONG")
    proxy.stall()
    proxy.heal()
    assert.isTrue(await isPendingAfter(30, reply))
    assert.isNull(await direct.get(key))
    void outcome(reply)
  })

  it("stallUp holds requests, stallDown holds replies only", async () => {
    const { connect, direct, key, proxy } = context
    const client = await connect()
    proxy.stallUp()
    const first = client.set(key, "1")
    assert.isTrue(await isPendingAfter(30, first))
    assert.isNull(await direct.get(key))
    proxy.heal({ deliver: true })
    await first
    proxy.stallDown()
    const second = client.set(key, "2")
    await waitFor(() => direct.get(key), 1000, (value) => value === "2")
    assert.isTrue(await isPendingAfter(30, second))
    proxy.heal({ deliver: true })
    assert.strictEqual(await second, "OK")
  })

  for (const held of ["by a stall", "by a server that does not read"]) {
    it(`holds a bounded amount ${held}, and delivers what the sender had to keep`, async () => {
      const { direct, key, proxy, server, socketTo } = context
      const socket = await socketTo()
      if (held === "by a stall") proxy.stall()
      else server.freeze()
      const value = Buffer.alloc(64 << 20, "x")
      socket.write(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n`)
      socket.write(value)
      socket.write("\r\n")
      assert.isTrue(await isPendingAfter(400, once(socket, "drain")))
      proxy.heal({ deliver: true })
      server.thaw()
      assert.strictEqual(String((await once(socket, "data"))[0]), "+OK\r\n")
      assert.strictEqual(await direct.strlen(key), value.length)
    })
  }

  it("hides that the server closed the connection", async () => {
    const { connect, direct, proxy } = context
    const client = await connect()
    const id = await client.client("ID")
    const end = closed(client)
    proxy.stallDown()
    await direct.client("KILL", "ID", id)
    assert.isTrue(await isPendingAfter(30, end))
    proxy.heal({ deliver: true })
    await end
  })
})
