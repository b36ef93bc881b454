/**
 * A wall clock of a server's own, which a test steps while the server runs: a small library in C that is preloaded into
 * it. Linux only.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { installOnDebian } from "./redisServer.js"

const source = fileURLToPath(new URL("./steppedClock.c", import.meta.url))

const hasCompiler = (): boolean => {
  try {
    execFileSync("cc", ["--version"], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

/** Compiles the library into the folder, and says where it is. Installs the compiler where that can be done. */
export const buildSteppedClock = (folder: string): string => {
  if (!hasCompiler()) installOnDebian("gcc", "libc6-dev")
  if (!hasCompiler()) {
    throw new Error(
      "No C compiler found: a server's clock is stepped by a library in C. Install it (Debian: apt-get "
        + "install gcc libc6-dev), so that there is a program cc."
    )
  }
  const library = path.join(folder, "steppedClock.so")
  execFileSync("cc", ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source], { stdio: "inherit" })
  return library
}

export interface SteppedClock {
  /** The environment of the server whose clock it is. */
  readonly env: Readonly<Record<string, string>>
  /** By how many milliseconds it is ahead of the machine's. */
  readonly ahead: () => number
  /** At once, and for all that reads it from then on. */
  readonly setAhead: (millis: number) => void
}

/** A clock that shows the machine's time until it is set. */
export const steppedClock = (library: string): Effect.Effect<SteppedClock, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "dlock-clock-"))
      const file = path.join(folder, "offset")
      let ahead = 0
      const setAhead = (millis: number) => {
        ahead = millis
        // Written in place, and in one go: the server has this very file in its memory.
        const offset = Buffer.alloc(8)
        offset.writeBigInt64LE(BigInt(Math.round(1_000 * millis)))
        const descriptor = fs.openSync(file, fs.existsSync(file) ? "r+" : "w")
        fs.writeSync(descriptor, offset, 0, 8, 0)
        fs.closeSync(descriptor)
      }
      setAhead(0)
      return { folder, env: { LD_PRELOAD: library, STEPPED_CLOCK: file }, ahead: () => ahead, setAhead }
    }),
    ({ folder }) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  )
