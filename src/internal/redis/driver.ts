/** The only names that this library takes from ioredis. Both of its majors in use, 5 and 6, have them. */
import { Redis } from "ioredis"
import type { RedisOptions } from "ioredis"

export type Client = Redis

/**
 * Without `replyMapping`: the library reads replies in their default shape. Without `commandTimeout`, as the one of
 * `Dlock.Options` is what counts: the driver's fails a command and keeps the connection, however dead that is.
 */
export type ClientOptions = Omit<RedisOptions, "replyMapping" | "commandTimeout">

const withoutTimeout = { commandTimeout: undefined }

export const connect = (url: string | undefined, options: ClientOptions): Client => {
  const own = { ...options, ...withoutTimeout }
  return url === undefined ? new Redis(own) : new Redis(url, own)
}

/** A second connection with the options of the first, but for those. */
export const duplicate = (client: Client, options: ClientOptions): Client =>
  client.duplicate({ ...options, ...withoutTimeout })
