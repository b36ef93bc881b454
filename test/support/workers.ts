/**
 * Real processes for tests, demo and bench: each worker is one Node process that talks to its parent by IPC messages,
 * and can be killed or frozen at any moment. A worker's side is plain `process.send` and `process.on("message")`.
 */
import type { Serializable } from "node:child_process"
import { spawn } from "node:child_process"
import { createRequire } from "node:module"
import * as path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { inspect } from "node:util"
import { freezeProcess, isAlive, killOnExit, thawProcess } from "./children.js"

/** How to start a worker. */
export interface WorkerOptions {
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly args?: ReadonlyArray<string> | undefined
  /** The module preloaded with `--import`. Defaults to `tsx` for a TypeScript file, to none for others. */
  readonly import?: string | undefined
}

/** How a process ended: one of the two is null. */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A running worker. A message is a string or an object, which may hold bigints, maps, buffers. */
export interface Worker {
  readonly pid: number
  readonly send: (message: Serializable) => void
  /** All messages so far, in order. */
  readonly messages: ReadonlyArray<unknown>
  /**
   * The first message, sent before or after this call, that fits and that no `next` has returned yet. Rejects, with
   * what the worker did say, after the timeout (5 s unless told), or when the worker is gone without such a message.
   */
  readonly next: {
    <A>(fits: (message: any) => message is A, timeoutMillis?: number): Promise<A>
    (fits: (message: any) => boolean, timeoutMillis?: number): Promise<any>
  }
  /** The last lines printed to standard output and error. */
  readonly output: () => string
  /** Sends a signal, SIGKILL unless told, and resolves with the exit. */
  readonly kill: (signal?: NodeJS.Signals) => Promise<Exit>
  /** SIGSTOP: the process has stopped when this returns. */
  readonly freeze: () => void
  /** SIGCONT. */
  readonly thaw: () => void
  readonly exited: Promise<Exit>
}

/**
 * Microseconds, with fractions, on CLOCK_MONOTONIC. The clock is one for all processes of a machine, so stamps of
 * different workers compare.
 */
export const monotonicMicros = (): number => Number(process.hrtime.bigint()) / 1000

const preload = (file: string): string | undefined =>
  /\.[cm]?ts$/.test(file) ? pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href : undefined

/** Starts a Node process. It is killed when this process ends. */
export const spawnWorker = (file: string | URL, options: WorkerOptions = {}): Worker => {
  const script = file instanceof URL || file.startsWith("file:") ? fileURLToPath(file) : path.resolve(file)
  const imported = options.import ?? preload(script)
  const child = spawn(
    process.execPath,
    [...imported === undefined ? [] : ["--import", imported], script, ...options.args ?? []],
    { env: { ...process.env, ...options.env }, serialization: "advanced", stdio: ["ignore", "pipe", "pipe", "ipc"] }
  )
  killOnExit(child)

  const messages: Array<unknown> = []
  const unread: Array<unknown> = []
  const waiters = new Set<() => void>()
  const wakeAll = () => {
    for (const wake of waiters) wake()
  }
  let output = ""
  let isGone = false
  const record = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-65_536)
  }
  child.stdout?.on("data", record)
  child.stderr?.on("data", record)
  child.on("message", (message) => {
    messages.push(message)
    unread.push(message)
    wakeAll()
  })
  // "close", not "exit": messages sent just before the end are still read after "exit".
  child.on("close", () => {
    isGone = true
    wakeAll()
  })
  const exited = new Promise<Exit>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }))
    child.once("error", (error) => {
      record(Buffer.from(String(error)))
      if (!isAlive(child)) resolve({ code: child.exitCode, signal: child.signalCode })
    })
  })

  const next = (fits: (message: any) => boolean, timeoutMillis = 5000): Promise<any> =>
    new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer)
        waiters.delete(wake)
      }
      const fail = (reason: string) => {
        settle()
        reject(new Error(`Worker ${child.pid} ${reason}. Unread: ${inspect(unread)}. Output:\n${output}`))
      }
      const wake = () => {
        const index = unread.findIndex(fits)
        if (index !== -1) {
          settle()
          resolve(unread.splice(index, 1)[0])
        } else if (isGone) {
          fail("is gone without the message")
        }
      }
      const timer = setTimeout(() => fail(`did not send the message in ${timeoutMillis} ms`), timeoutMillis)
      waiters.add(wake)
      wake()
    })

  return {
    pid: child.pid!,
    send: (message) => {
      child.send(message)
    },
    messages,
    next,
    output: () => output,
    kill: (signal = "SIGKILL") => {
      child.kill(signal)
      return exited
    },
    freeze: () => freezeProcess(child.pid!),
    thaw: () => thawProcess(child.pid!),
    exited
  }
}
