import * as Context from "effect3/Context"

export * from "effect3/Context"
export { unsafeGet as getUnsafe } from "effect3/Context"

export const Service = <Self, Shape>() => <const Id extends string>(id: Id): Context.TagClass<Self, Id, Shape> =>
  Context.Tag(id)<Self, Shape>()

export type Reference<A> = Context.Reference<never, A>

/** A service that is there without being provided: in Effect 3 its type is a class. */
export const Reference = <A>(id: string, options: { readonly defaultValue: () => A }): Reference<A> =>
  Context.Reference<never>()(id, options)
