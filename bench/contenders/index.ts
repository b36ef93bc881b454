/** All contenders by id. Each is loaded by the processes that play it, and by nobody else. */
import type { Contender } from "../contender.js"

export const contenders = {
  raw: async () => (await import("./raw.js")).raw,
  rawEffect: async () => (await import("./raw.js")).rawEffect,
  rawPipelined: async () => (await import("./raw.js")).rawPipelined,
  tokenList: async () => (await import("./floors.js")).tokenList,
  luaQueue: async () => (await import("./floors.js")).luaQueue,
  luaQueueFibers: async () => (await import("./floors.js")).luaQueueFibers,
  protocol: async () => (await import("./protocol.js")).protocol,
  protocolFibers: async () => (await import("./protocol.js")).protocolFibers,
  ours: async () => (await import("./ours.js")).ours,
  oursByPromise: async () => (await import("./ours.js")).oursByPromise,
  oursOnEffect3: async () => (await import("./ours.js")).oursOnEffect3,
  oursByFork: async () => (await import("./ours.js")).oursByFork,
  oursByForkOnEffect3: async () => (await import("./ours.js")).oursByForkOnEffect3,
  rawEffect3: async () => (await import("./raw.js")).rawEffect3,
  redisSemaphore: async () => (await import("./redisSemaphore.js")).redisSemaphore,
  redlock: async () => (await import("./redlock.js")).redlock,
  redlockUniversal: async () => (await import("./redlockUniversal.js")).redlockUniversal,
  effectDistributedLock: async () => (await import("./effectDistributedLock.js")).effectDistributedLock,
  dlock12: async () => (await import("./dlock12.js")).dlock12
} satisfies Record<string, () => Promise<Contender>>

export type ContenderId = keyof typeof contenders
