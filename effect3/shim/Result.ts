/** The Result of Effect 4, as far as the library uses it: what Either is in Effect 3, with other names of its fields. */
export interface Success<out A> {
  readonly _tag: "Success"
  readonly success: A
}

export interface Failure<out E> {
  readonly _tag: "Failure"
  readonly failure: E
}

export type Result<A, E = never> = Success<A> | Failure<E>

export const succeed = <A>(success: A): Result<A> => ({ _tag: "Success", success })

export const fail = <E>(failure: E): Result<never, E> => ({ _tag: "Failure", failure })

export const isSuccess = <A, E>(self: Result<A, E>): self is Success<A> => self._tag === "Success"

export const isFailure = <A, E>(self: Result<A, E>): self is Failure<E> => self._tag === "Failure"

export const map = <A, E, B>(self: Result<A, E>, f: (success: A) => B): Result<B, E> =>
  isSuccess(self) ? succeed(f(self.success)) : self

export const match = <A, E, B, C = B>(
  self: Result<A, E>,
  { onFailure, onSuccess }: { readonly onFailure: (failure: E) => B; readonly onSuccess: (success: A) => C }
): B | C => isSuccess(self) ? onSuccess(self.success) : onFailure(self.failure)

export const getOrElse = <A, E, B>(self: Result<A, E>, otherwise: (failure: E) => B): A | B =>
  isSuccess(self) ? self.success : otherwise(self.failure)

export const getOrUndefined = <A, E>(self: Result<A, E>): A | undefined => isSuccess(self) ? self.success : undefined

const attempt = <A>(evaluate: () => A): Result<A, unknown> => {
  try {
    return succeed(evaluate())
  } catch (error) {
    return fail(error)
  }
}

export { attempt as try }

export const getOrThrow = <A, E>(self: Result<A, E>): A => {
  if (isSuccess(self)) return self.success
  throw self.failure
}
