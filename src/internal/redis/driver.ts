/** The only names that this library takes from ioredis. Both of its majors in use, 5 and 6, have them. */
import { Redis } from "ioredis"
import type { RedisOptions } from "ioredis"

export type Client = Redis

/** Without `replyMapping`: the library reads replies in their default shape. */
export type ClientOptions = Omit<RedisOptions, "replyMapping">

export const connect = (url: string | undefined, options: ClientOptions): Client =>
  url === undefined ? new Redis(options) : new Redis(url, options)
