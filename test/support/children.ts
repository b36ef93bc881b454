/**
 * Child processes of tests, demo and bench: none outlives the process that started it (unless that one is itself
 * killed with SIGKILL), and a pause is a pause by the time the call returns.
 */
import type { ChildProcess } from "node:child_process"
import * as fs from "node:fs"

const cleanups = new Set<() => void>()
const signals: ReadonlyArray<NodeJS.Signals> = ["SIGINT", "SIGTERM", "SIGHUP"]

const cleanUp = () => {
  for (const cleanup of [...cleanups].reverse()) {
    try {
      cleanup()
    } catch {
      // the others still have to run, and nobody is left to tell
    }
  }
}

// Without a listener of ours, a signal ends the process with no "exit" event. With somebody else's, they decide.
const onSignal = (signal: NodeJS.Signals) => {
  if (process.listenerCount(signal) > 1) return
  cleanUp()
  process.off(signal, onSignal)
  process.kill(process.pid, signal)
}

/** Runs the synchronous cleanup when this process ends, the latest first. Returns what takes it back. */
export const onProcessEnd = (cleanup: () => void): () => void => {
  if (cleanups.size === 0) {
    process.prependListener("exit", cleanUp) // first, as vitest's listener ends the process there and then
    process.on("disconnect", cleanUp) // a worker of vitest whose parent has died
    for (const signal of signals) process.on(signal, onSignal)
  }
  cleanups.add(cleanup)
  return () => {
    if (!cleanups.delete(cleanup) || cleanups.size > 0) return
    process.off("exit", cleanUp)
    process.off("disconnect", cleanUp)
    for (const signal of signals) process.off(signal, onSignal)
  }
}

/** Kills the child when this process ends. Leaves no listener behind once the child has exited. */
export const killOnExit = (child: ChildProcess): void => {
  const forget = onProcessEnd(() => child.kill("SIGKILL"))
  child.once("exit", forget)
  child.once("error", forget)
}

/** Whether the child has been started and has not exited. */
export const isAlive = (child: ChildProcess): boolean =>
  child.pid !== undefined && child.exitCode === null && child.signalCode === null

/** The state letter of a process in /proc, `undefined` where there is no /proc. */
const stateOf = (pid: number): string | undefined => {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1")
    return stat[stat.lastIndexOf(")") + 2]
  } catch {
    return undefined
  }
}

/** Stops a process with SIGSTOP. On Linux it has stopped when this returns: a signal takes effect a moment later. */
export const freezeProcess = (pid: number): void => {
  process.kill(pid, "SIGSTOP")
  const deadline = Date.now() + 2000
  for (let state = stateOf(pid); state !== undefined && state !== "T" && state !== "Z"; state = stateOf(pid)) {
    if (Date.now() > deadline) throw new Error(`Process ${pid} did not stop: its state is ${state}`)
  }
}

/** Lets a stopped process go on. */
export const thawProcess = (pid: number): void => {
  process.kill(pid, "SIGCONT")
}
