import type * as Deferred from "effect3/Deferred"
import { unsafeDone, unsafeMake } from "effect3/Deferred"
import type * as Exit from "effect3/Exit"
import * as FiberId from "effect3/FiberId"

export * from "effect3/Deferred"
export { intoDeferred as into } from "effect3/Effect"

export const makeUnsafe = <A, E = never>(): Deferred.Deferred<A, E> => unsafeMake(FiberId.none)

/** Whether it was the first. */
export const doneUnsafe = <A, E>(self: Deferred.Deferred<A, E>, exit: Exit.Exit<A, E>): void => unsafeDone(self, exit)
