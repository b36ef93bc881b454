/** Where the peers live: in folders and with lock files of their own. They are loaded by those who need them. */
import { fileURLToPath } from "node:url"

/** One level up from this folder, and from that of the bundle. */
const folders = { peers: new URL("../peers/", import.meta.url), dlock12: new URL("../peers/dlock12/", import.meta.url) }

export const folderOf = (folder: keyof typeof folders): string => fileURLToPath(folders[folder])

/** The module. Its type is what the caller says of it, as peers may not be installed where types are checked. */
export const loadPeer = async <M>(name: string, folder: keyof typeof folders = "peers"): Promise<M> => {
  const { load } = await import(new URL("load.mjs", folders[folder]).href) as {
    readonly load: (name: string) => Promise<M>
  }
  return load(name)
}

/** What this bench uses of ioredis 4 and 5. */
export interface PeerRedis {
  readonly duplicate: () => PeerRedis
  readonly ping: () => PromiseLike<string>
}

export interface PeerRedisClass {
  new(url: string): PeerRedis
  readonly prototype: object
}
