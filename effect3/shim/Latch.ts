import type * as Effect from "effect3/Effect"

export type Latch = Effect.Latch

export { makeLatch as make, unsafeMakeLatch as makeUnsafe } from "effect3/Effect"

export const openUnsafe = (self: Latch): void => self.unsafeOpen()

export const closeUnsafe = (self: Latch): void => self.unsafeClose()
