/** The queue of Effect 4 is the mailbox of Effect 3. */
import * as Chunk from "effect3/Chunk"
import * as Effect from "effect3/Effect"
import * as Mailbox from "effect3/Mailbox"

export type Queue<A> = Mailbox.Mailbox<A>
export type Dequeue<A> = Mailbox.ReadonlyMailbox<A>

export const make = <A>(): Effect.Effect<Queue<A>> => Mailbox.make<A>()

export const unbounded = make

export const offer = <A>(self: Queue<A>, message: NoInfer<A>): Effect.Effect<boolean> => self.offer(message)

export const offerUnsafe = <A>(self: Queue<A>, message: NoInfer<A>): boolean => self.unsafeOffer(message)

export const take = <A>(self: Dequeue<A>): Effect.Effect<A> =>
  Effect.catchTag(self.take, "NoSuchElementException", () => Effect.interrupt)

/** Whoever still takes after the shutdown is interrupted. */
export const takeAll = <A>(self: Dequeue<A>): Effect.Effect<ReadonlyArray<A>> =>
  Effect.flatMap(
    self.takeAll,
    ([messages, isDone]) => isDone && Chunk.isEmpty(messages) ? Effect.interrupt : Effect.succeed([...messages])
  )

export const clear = <A>(self: Dequeue<A>): Effect.Effect<ReadonlyArray<A>> =>
  Effect.map(self.clear, (messages) => [...messages])

export const shutdown = <A>(self: Queue<A>): Effect.Effect<boolean> => self.shutdown
