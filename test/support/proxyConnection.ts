/** One proxied connection: two flows of bytes, held, delayed or cut as the rules of the proxy say. See `proxy.ts`. */
import type * as net from "node:net"

/** What the connections picked by one filter suffer. Every rule that applies to a connection counts. */
export interface Rule {
  /** Picks a connection, by a chunk that its client sent. */
  readonly matches: (chunk: Buffer) => boolean
  readonly members: Set<Connection> | "all"
  readonly cuts: Array<Cut>
  holdsUp: boolean
  holdsDown: boolean
  refuses: boolean
  delayMillis: number
}

/** A cut that waits for its chunk. */
export interface Cut {
  readonly matches: (chunk: Buffer) => boolean
  readonly when: "request-forwarded" | "mid-reply"
  readonly done: () => void
  readonly failed: (error: Error) => void
}

type Mark = "end" | "destroy" | "reset"

/** Above this many bytes held for one direction of a connection, its source is no longer read. */
const highWaterBytes = 1 << 20

/** One direction of a connection: a queue of bytes and marks, emptied in order as soon as the rules allow. */
class Flow {
  private readonly queue: Array<{ readonly due: number; readonly item: Buffer | Mark }> = []
  private bytes = 0
  private isFull = false
  private isDiscarding = false
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly source: net.Socket,
    private readonly sink: net.Socket,
    private readonly isHeld: () => boolean,
    private readonly delayMillis: () => number
  ) {
    sink.on("drain", () => {
      this.isFull = false
      this.pump()
    })
    sink.on("close", () => this.discard())
  }

  push(item: Buffer | Mark): void {
    if (this.isDiscarding) return
    this.queue.push({ due: performance.now() + this.delayMillis(), item })
    if (typeof item !== "string") this.bytes += item.length
    this.pump()
  }

  pump(): void {
    clearTimeout(this.timer)
    for (let next = this.queue[0]; next !== undefined && !this.isFull && !this.isHeld(); next = this.queue[0]) {
      const wait = next.due - performance.now()
      if (wait > 0) {
        this.timer = setTimeout(() => this.pump(), Math.ceil(wait))
        break
      }
      this.queue.shift()
      this.deliver(next.item)
    }
    if (this.bytes > highWaterBytes) this.source.pause()
    else this.source.resume()
  }

  /** Drops what is held and what is still to come, but goes on reading, so that the end is seen. */
  discard(): void {
    this.isDiscarding = true
    this.queue.length = 0
    this.bytes = 0
    clearTimeout(this.timer)
    this.source.resume()
  }

  private deliver(item: Buffer | Mark): void {
    if (item === "end") this.sink.end()
    else if (item === "destroy") this.sink.destroySoon()
    else if (item === "reset") this.sink.resetAndDestroy()
    else {
      this.bytes -= item.length
      this.isFull = !this.sink.write(item)
    }
  }
}

/** A client's socket and its counterpart to the server. */
export class Connection {
  /** Neither the client nor we have ended or closed the client's socket. */
  isLive = true
  /** Held for ever. */
  isDead = false
  private readonly up: Flow
  private readonly down: Flow
  private cutting: Cut | undefined
  private replyBegan = false

  constructor(
    private readonly client: net.Socket,
    private readonly server: net.Socket,
    private readonly rules: ReadonlyArray<Rule>,
    onClosed: (self: Connection) => void
  ) {
    const delay = () => this.mine().reduce((sum, rule) => sum + rule.delayMillis, 0)
    this.up = new Flow(client, server, () => this.isDead || this.mine().some((rule) => rule.holdsUp), delay)
    this.down = new Flow(server, client, () => this.isDead || this.mine().some((rule) => rule.holdsDown), delay)
    client.on("data", (chunk) => this.onRequest(chunk))
    client.on("end", () => this.onClientGone("end"))
    client.on("close", () => this.onClientGone(client.readableEnded ? "destroy" : "reset"))
    server.on("data", (chunk) => this.onReply(chunk))
    server.on("end", () => this.down.push("end"))
    server.on("close", () => this.down.push(server.readableEnded ? "destroy" : "reset"))
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      socket.on("error", () => {}) // "close" follows
      socket.on("close", () => {
        if (!client.closed || !server.closed) return
        onClosed(this)
        this.cutting?.done()
      })
    }
  }

  /** The rules this connection is under. */
  mine(): ReadonlyArray<Rule> {
    return this.rules.filter((rule) => rule.members === "all" || rule.members.has(this))
  }

  /** Tries again to deliver what was held. */
  pump(): void {
    this.up.pump()
    this.down.pump()
  }

  /** Closes both sides: by FIN, or by RST. What is held is lost. */
  close(how: "fin" | "reset"): void {
    for (const socket of [this.client, this.server]) {
      if (how === "fin") socket.destroySoon()
      else socket.resetAndDestroy()
    }
  }

  private onClientGone(mark: Mark): void {
    this.isLive = false
    if (this.cutting === undefined) this.up.push(mark)
  }

  private onRequest(chunk: Buffer): void {
    if (this.cutting !== undefined) return
    for (const rule of this.rules) {
      if (rule.members === "all" || rule.members.has(this) || !rule.matches(chunk)) continue
      rule.members.add(this)
      if (rule.refuses) return this.close("reset")
    }
    for (const { cuts } of this.mine()) {
      const index = cuts.findIndex((cut) => cut.matches(chunk))
      if (index !== -1) return this.cut(chunk, cuts.splice(index, 1)[0]!)
    }
    this.up.push(chunk)
  }

  private onReply(chunk: Buffer): void {
    if (this.cutting === undefined) return this.down.push(chunk)
    if (this.cutting.when === "request-forwarded" || this.replyBegan) return
    this.replyBegan = true
    this.down.push(chunk.subarray(0, 1))
    this.down.push("destroy")
    this.up.push("end")
  }

  // FIN follows the request: the server closes once it has read, and so has executed, all that came before.
  private cut(chunk: Buffer, cut: Cut): void {
    this.cutting = cut
    this.up.push(chunk)
    if (cut.when === "mid-reply") return
    this.up.push("end")
    this.down.discard()
    this.server.on("close", () => this.client.destroySoon())
  }
}
