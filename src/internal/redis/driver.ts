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

/** The database that the driver believes to be in, or will ask for. */
export const databaseOf = ({ condition, options }: Client): number => condition?.select ?? options.db ?? 0

/** Where a client connects to, for people. Never with a password. */
export const addressOf = ({ options: { host, name, path, port, sentinels } }: Client): string => {
  if (sentinels) return `the primary "${name}"`
  if (path) return path
  return host?.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
}
