/**
 * Real Redis servers on free ports of 127.0.0.1: started, frozen, killed and restarted by whoever needs a fault.
 * Used by the tests, the demo and the bench, so it knows nothing of vitest. It starts single servers only; replicas,
 * clusters and sentinels are made of these by `args`.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { ChildProcess } from "node:child_process"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { freezeProcess, isAlive, killOnExit, onProcessEnd, thawProcess } from "./children.js"

const startTimeoutMillis = 10_000
const stopTimeoutMillis = 3_000

const howToGetRedis = process.env["REDIS_SERVER"] === undefined
  ? "No redis-server found. Install it (Debian: apt-get install redis-server; macOS: brew install redis; or valkey), "
    + "or set REDIS_SERVER to the path of a redis-server or valkey-server binary."
  : `REDIS_SERVER is ${process.env["REDIS_SERVER"]}, which is not an executable file.`

/** The server binary: `REDIS_SERVER` when set, else `redis-server`, else `valkey-server` on the PATH. */
export const findRedisServer = (): string | undefined => {
  const chosen = process.env["REDIS_SERVER"]
  const folders = (process.env["PATH"] ?? "").split(path.delimiter)
  const candidates = chosen === undefined
    ? ["redis-server", "valkey-server"].flatMap((name) => folders.map((folder) => path.join(folder, name)))
    : chosen.includes(path.sep)
    ? [path.resolve(chosen)]
    : folders.map((folder) => path.join(folder, chosen))
  return candidates.find((file) => {
    try {
      fs.accessSync(file, fs.constants.X_OK)
      return fs.statSync(file).isFile()
    } catch {
      return false
    }
  })
}

/** Installs packages by apt on Debian as root. Does nothing elsewhere. */
export const installOnDebian = (...packages: ReadonlyArray<string>): void => {
  if (!fs.existsSync("/etc/debian_version") || process.getuid?.() !== 0) return
  console.log(`Installing with apt-get update && apt-get install -y ${packages.join(" ")}`)
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" }
  execFileSync("apt-get", ["update", "-q"], { env, stdio: "inherit" })
  execFileSync("apt-get", ["install", "-y", "-q", ...packages], { env, stdio: "inherit" })
}

/** The server binary, installed by apt when missing on Debian as root. Otherwise throws and says how to get one. */
export const ensureRedisServer = (): string => {
  if (findRedisServer() === undefined && process.env["REDIS_SERVER"] === undefined) installOnDebian("redis-server")
  const found = findRedisServer()
  if (found === undefined) throw new Error(howToGetRedis)
  return found
}

const canListen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = net.createServer()
    server.once("error", () => resolve(false))
    server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resolve(true)))
  })

/**
 * A port the OS says is free. Not from the ephemeral range (what listening on 0 gives): there a client that reconnects
 * to a dead server can be given the server's own port, connects to itself, and the server cannot come back.
 */
export const freePort = async (): Promise<number> => {
  for (let attempt = 0; attempt < 1000; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    if (await canListen(port)) return port
  }
  throw new Error("No free port between 20000 and 32000")
}

/** Sends inline commands and resolves with what came back, once it matches or the server closed or a second passed. */
const ask = (port: number, commands: string, until: RegExp): Promise<string> =>
  new Promise((resolve) => {
    let reply = ""
    const socket = net.connect({ port, host: "127.0.0.1" }, () => socket.write(commands))
    socket.setTimeout(1000, () => socket.destroy())
    socket.on("data", (chunk) => {
      reply += chunk.toString("latin1")
      if (until.test(reply)) socket.destroy()
    })
    socket.on("error", () => {})
    socket.on("close", () => resolve(reply))
  })

/** Whether the server on the port has loaded its data and is the process with this pid, as far as it lets us ask. */
const isReady = async (port: number, pid: number): Promise<boolean> => {
  const reply = await ask(port, "PING\r\nINFO server\r\n", /process_id:\d+\r\n|-(NOAUTH|NOPERM)[^]*\r\n/)
  return /^-(NOAUTH|NOPERM)/.test(reply) || (reply.startsWith("+PONG") && reply.includes(`process_id:${pid}\r\n`))
}

/** Lets this process end, and so kill the server, when nothing but a forgotten server is left. */
const unref = (child: ChildProcess): void => {
  child.unref()
  for (const stream of [child.stdout, child.stderr]) if (stream instanceof net.Socket) stream.unref()
}

/** Starts the binary and waits until it answers. Rejects with its output when it exits instead. */
const launch = async (
  binary: string,
  args: ReadonlyArray<string>,
  port: number,
  env: Readonly<Record<string, string>> | undefined
) => {
  const child: ChildProcess = spawn(binary, args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"]
  })
  killOnExit(child)
  let output = ""
  const record = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-8192)
  }
  child.stdout?.on("data", record)
  child.stderr?.on("data", record)
  const closed = once(child, "close").catch((cause: unknown) => {
    output += String(cause)
  })
  const deadline = Date.now() + startTimeoutMillis
  while (isAlive(child)) {
    if (await isReady(port, child.pid!) && isAlive(child)) {
      unref(child)
      return { child, closed, output: () => output }
    }
    if (Date.now() > deadline) child.kill("SIGKILL")
    await sleep(5)
  }
  await closed
  throw new Error(`${binary} ${args.join(" ")} did not start:\n${output}`)
}

const portIsTaken = (error: unknown): boolean => error instanceof Error && /address already in use/i.test(error.message)

/** How to start a server. */
export interface RedisServerOptions {
  /** More arguments for redis-server, after ours, so they win. A first one without a dash is the config file. */
  readonly args?: ReadonlyArray<string> | undefined
  /** Defaults to a free port. */
  readonly port?: number | undefined
  /** The working directory, kept by `stop`. Defaults to a temporary one, removed by `stop`. */
  readonly dir?: string | undefined
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** A running server on 127.0.0.1. The port stays the same over restarts, the pid does not. */
export interface RedisServer {
  readonly port: number
  readonly url: string
  readonly dir: string
  readonly args: ReadonlyArray<string>
  readonly pid: number
  /** The last lines it printed. */
  readonly output: () => string
  /** SIGTERM, then SIGKILL. Works on a frozen server. Removes the temporary directory. Idempotent. */
  readonly stop: () => Promise<void>
  /** SIGKILL, and waits for the exit. Files stay. Idempotent. */
  readonly kill: () => Promise<void>
  /** SIGSTOP: connections stay open and the kernel goes on accepting, nothing is answered. */
  readonly freeze: () => void
  /** SIGCONT. */
  readonly thaw: () => void
  /**
   * SIGKILL and a start on the same port, frozen or dead as it may be. Empty, unless `keepData`: what an append-only
   * file holds, or else all of it, by a SAVE before the kill.
   */
  readonly restart: (options?: { readonly keepData?: boolean | undefined }) => Promise<void>
}

/** Starts a server without persistence, and waits until it answers PING. */
export const startRedis = async (options: RedisServerOptions = {}): Promise<RedisServer> => {
  const binary = findRedisServer()
  if (binary === undefined) throw new Error(howToGetRedis)
  const dir = options.dir ?? fs.mkdtempSync(path.join(os.tmpdir(), "dlock-redis-"))
  const extra = [...options.args ?? []]
  const configFile = extra[0] === undefined || extra[0].startsWith("-") ? [] : extra.splice(0, 1)
  const hasAppendOnlyFile = /--appendonly,yes/.test(String(extra))
  const argsFor = (port: number): ReadonlyArray<string> => [
    ...configFile,
    ...["--bind", "127.0.0.1", "--port", String(port), "--save", "", "--appendonly", "no", "--dir", dir],
    ...extra
  ]
  const removeTemporaryDir = () => {
    if (options.dir === undefined) fs.rmSync(dir, { recursive: true, force: true })
  }
  const forgetDir = onProcessEnd(removeTemporaryDir)
  const removeDir = () => {
    forgetDir()
    removeTemporaryDir()
  }

  let port = options.port ?? await freePort()
  const start = async () => {
    for (let attempt = 0;; attempt++) {
      try {
        return await launch(binary, argsFor(port), port, options.env)
      } catch (error) {
        if (!portIsTaken(error) || options.port !== undefined || attempt >= 10) throw error
        port = await freePort()
      }
    }
  }
  let current = await start().catch((error: unknown) => {
    removeDir()
    throw error
  })

  const end = async (signal: "SIGTERM" | "SIGKILL") => {
    const { child, closed } = current
    child.kill(signal)
    child.kill("SIGCONT") // a frozen process sees no SIGTERM
    const timer = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMillis)
    await closed.finally(() => clearTimeout(timer))
  }
  const save = async () => {
    if (!isAlive(current.child)) throw new Error("keepData on a dead server needs an append-only file")
    current.child.kill("SIGCONT")
    const reply = await ask(port, "SAVE\r\n", /\r\n/)
    if (!reply.startsWith("+OK")) throw new Error(`SAVE answered ${JSON.stringify(reply)}`)
  }

  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    dir,
    args: argsFor(port),
    get pid() {
      return current.child.pid!
    },
    output: () => current.output(),
    stop: async () => {
      await end("SIGTERM")
      removeDir()
    },
    kill: () => end("SIGKILL"),
    freeze: () => freezeProcess(current.child.pid!),
    thaw: () => thawProcess(current.child.pid!),
    restart: async ({ keepData = false } = {}) => {
      if (keepData && !hasAppendOnlyFile) await save()
      await end("SIGKILL")
      fs.mkdirSync(dir, { recursive: true })
      const files = keepData ? [] : ["dump.rdb", "appendonlydir", "appendonly.aof"]
      for (const file of files) fs.rmSync(path.join(dir, file), { recursive: true, force: true })
      current = await launch(binary, argsFor(port), port, options.env)
    }
  }
}

/** A server of its own for one scope. Failing to start is a defect. */
export const redisWith = (options?: RedisServerOptions): Effect.Effect<RedisServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() => startRedis(options)),
    (server) => Effect.promise(() => server.stop())
  )

/** A plain server of its own for one scope. */
export const redis: Effect.Effect<RedisServer, never, Scope.Scope> = redisWith()

/** A layer made from the url of a server that lives as long as it: `layerUrl((url) => RedisLayer.layer({ url }))`. */
export const layerUrl = <A, E, R>(
  make: (url: string, server: RedisServer) => Layer.Layer<A, E, R>,
  options?: RedisServerOptions
): Layer.Layer<A, E, R> => Layer.unwrap(Effect.map(redisWith(options), (server) => make(server.url, server)))
