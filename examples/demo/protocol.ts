/** What the demo and its processes say to each other, over the IPC channel. */
import type { Event } from "./contender.js"

/** To a process. */
export type Order =
  | { readonly type: "come"; readonly holdMillis: number }
  /** The answer to a write: taken. */
  | { readonly type: "written"; readonly fence: number }
  /** The other processes: to be woken if the demo itself dies, as a frozen one would never notice. */
  | { readonly type: "peers"; readonly pids: ReadonlyArray<number> }

/** From a process. */
export type Message =
  | { readonly type: "ready" }
  | { readonly type: "event"; readonly event: Event }
  | { readonly type: "write"; readonly fence: number }
  | { readonly type: "failed"; readonly message: string }
