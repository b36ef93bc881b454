/** Commands that this process sends, counted where every ioredis sends them: pipelines, blocking ones and all. */

type SendCommand = (this: unknown, command: { readonly name: string }, ...rest: ReadonlyArray<unknown>) => unknown

interface Client {
  readonly prototype: object
}

const counts: Record<string, number> = {}
const known = new Set<object>()

/** Counts what clients of this class send from now on, and returns the class. */
export const counted = <C extends Client>(client: C): C => {
  const prototype = client.prototype as { sendCommand: SendCommand }
  if (known.has(prototype)) return client
  known.add(prototype)
  const send = prototype.sendCommand
  prototype.sendCommand = function(command, ...rest) {
    counts[command.name] = (counts[command.name] ?? 0) + 1
    return send.call(this, command, ...rest)
  }
  return client
}

/** How often each command was sent, by lower case name. */
export const sentSoFar = (): Record<string, number> => ({ ...counts })
