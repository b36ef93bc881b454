/** What the server of a world carries scripts out with: the memory store, or Redis' own Lua. The judge looks into both. */
import type * as Key from "../../src/internal/key.js"
import type { Reply } from "../support/lua/interpreter.js"

/** What a Redis key is about, and which of the keys of that it is. */
export interface RedisKey {
  readonly kind: Key.Kind
  readonly key: string
  readonly part: string
}

export interface HolderView {
  readonly permits: number
  /** By the server's clock: the end of the lease, or of what Redis keeps of it when that is earlier. */
  readonly until: number
  readonly fence: number
  readonly inbox: string
  /** Nobody works under it any more. */
  readonly isKept: boolean
}

export interface WaiterView {
  readonly permits: number
  readonly until: number
  readonly queued: boolean
}

export interface LockView {
  readonly limit: number
  /** Unknown while the key that says so is gone, or not written yet. */
  readonly used: number | undefined
  readonly holders: ReadonlyMap<string, HolderView>
  /** Holders of which nothing is known but when they end: their entries were evicted. */
  readonly bare?: ReadonlyMap<string, number>
  /** In the order of their arrival. */
  readonly waiters: ReadonlyMap<string, WaiterView>
  readonly tombstones: ReadonlyMap<string, number>
}

export interface FlightView {
  readonly leader: { readonly token: string; readonly ends: number } | undefined
  readonly followers: ReadonlyMap<string, unknown>
  /** Tokens whose finish was accepted. */
  readonly done: { readonly has: (token: string) => boolean }
}

export interface Backend {
  /** Runs a script: the keys, and the arguments. */
  readonly run: (command: ReadonlyArray<string>) => Reply
  readonly lock: (name: string) => LockView | undefined
  /** The names of all locks of which there is anything. */
  readonly lockNames: () => Iterable<string>
  readonly flight: (id: string) => FlightView | undefined
  /** What is left of flights that have ended, in words. */
  readonly flightsLeft: () => ReadonlyArray<string>
  /** Another program's key lies in the way of this, until it is taken away. */
  readonly spoil: (thing: { readonly kind: Key.Kind; readonly key: string }) => void
  readonly unspoil: () => void
  /** The keys that it has, and what loses one of them. Only a store that has keys does. */
  readonly keys?: () => ReadonlyArray<string>
  readonly evict?: (redisKey: string) => void
  /** What has had its time goes. */
  readonly expire: () => void
  /** Puts back what there is now. */
  readonly snapshot: () => () => void
  readonly clear: () => void
}
