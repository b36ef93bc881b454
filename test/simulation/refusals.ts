/**
 * What a server refuses, in the words of Redis: whole commands, or calls of a script, which then stops there and leaves what
 * it has written.
 */
import type { Command } from "../support/lua/commands.js"
import type { Random } from "./random.js"

/** They pass by themselves, or somebody has to see to it. */
const words = [
  "READONLY You can't write against a read only replica.",
  "LOADING Redis is loading the dataset in memory",
  "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
  "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
  "NOREPLICAS Not enough good replicas to write.",
  "OOM command not allowed when used memory > 'maxmemory'.",
  "NOPERM this user has no permissions to run the 'evalsha' command"
]

const denied = "ERR The user executing the script can't run this command or subcommand"

export interface CallRefusal {
  readonly words: string
  readonly isRefused: (name: string, command: Command, nth: number) => boolean
}

/** The calls that scripts make most, and last. */
const names = ["HSET", "ZADD", "SET", "HDEL", "ZREM", "DEL", "PEXPIREAT", "ZRANGE", "HMGET", "PUBLISH", "PUBSUB"]

export const anyWords = (random: Random): string => random.pick(words)

/** More calls than most scripts make. */
const callsMax = 24

export const anyCallRefusal = (random: Random): CallRefusal => {
  switch (random.index(4)) {
    case 0: {
      const denies = random.pick(names)
      return { words: denied, isRefused: (name) => name === denies }
    }
    case 1:
      return { words: random.pick([words[0]!, words[4]!]), isRefused: (_, { writes }) => writes }
    case 2: {
      const from = 1 + random.index(callsMax)
      return { words: random.pick(words), isRefused: (_name, _command, nth) => nth >= from }
    }
    default: {
      const at = 1 + random.index(callsMax)
      return { words: random.pick([...words, denied]), isRefused: (_name, _command, nth) => nth === at }
    }
  }
}
