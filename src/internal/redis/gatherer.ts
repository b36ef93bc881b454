/** Requests that go to the server together, by one command, and are answered each by itself. */
import * as Effect from "effect/Effect"
import type { BackendError } from "../../DlockError.js"

/** One of them. */
export interface Asked<In, Out> {
  readonly input: In
  readonly resume: (answer: Effect.Effect<Out, BackendError>) => void
}

/** How many go together: a server does nothing else meanwhile. */
const maxCount = 32

export class Gatherer<In, Out> {
  waiting: Array<Asked<In, Out>> = []
  size = 0

  constructor(
    /** How much one counts, of `maxSize` in all. */
    readonly sizeOf: (input: In) => number,
    readonly maxSize: number,
    /** The answers in the order of the inputs. Settles by itself, whatever becomes of those who ask. */
    readonly send: (
      inputs: ReadonlyArray<In>
    ) => Effect.Effect<ReadonlyArray<Effect.Effect<Out, BackendError>>, BackendError>
  ) {}

  /** Waits for the next `flush`, or for so many others that it is worth one. */
  add(asked: Asked<In, Out>): void {
    const size = this.sizeOf(asked.input)
    if (this.size + size > this.maxSize) this.flush()
    this.waiting.push(asked)
    this.size += size
    if (this.waiting.length === maxCount) this.flush()
  }

  /** Sends all that wait, before it returns. */
  flush(): void {
    const batch = this.waiting
    if (batch.length === 0) return
    this.waiting = []
    this.size = 0
    // A fiber that belongs to nobody who asks: one who is interrupted leaves the others alone. The link ends it in time.
    Effect.runFork(Effect.matchCause(this.send(batch.map(({ input }) => input)), {
      onFailure: (cause) => batch.forEach(({ resume }) => resume(Effect.failCause(cause))),
      onSuccess: (answers) =>
        batch.forEach(({ resume }, i) => resume(answers[i] ?? Effect.dieMessage("a batch was answered in part")))
    }))
  }
}
