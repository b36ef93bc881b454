/**
 * What may be shared without a schema, by its type. Nothing here runs: `npm run check` compiles it with ioredis 6,
 * `npm run test-types` with ioredis 5.
 */
import type { DlockError, Fanout } from "effect-dlock"
import { Dlock } from "effect-dlock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { expectTypeOf } from "vitest"

type Own = DlockError.BackendError | DlockError.FanoutError | DlockError.InvalidKeyError

interface Tree {
  readonly name: string
  readonly children: ReadonlyArray<Tree>
}

class Gone extends Data.TaggedError("Gone")<{ readonly id: number; readonly tags: ReadonlyArray<string> }> {}
class Missing extends Schema.TaggedError<Missing>()("Missing", { id: Schema.Number }) {}
class At extends Schema.TaggedError<At>()("At", { at: Schema.Date }) {}
class WithMethod {
  constructor(readonly n: number) {}
  twice() {
    return this.n * 2
  }
}

// JSON, and errors of JSON fields.

expectTypeOf(Dlock.fanout("k", Effect.succeed({ n: 1, s: "s", b: true, nothing: null, list: [1, 2] })))
  .toEqualTypeOf<
    Effect.Effect<{ n: number; s: string; b: boolean; nothing: null; list: Array<number> }, Own, Dlock.Dlock>
  >()

declare const tree: Effect.Effect<Tree, Gone | Missing>
expectTypeOf(Dlock.fanout("k", tree)).toEqualTypeOf<Effect.Effect<Tree, Gone | Missing | Own, Dlock.Dlock>>()

expectTypeOf(Dlock.fanout("k", Effect.void)).toEqualTypeOf<Effect.Effect<void, Own, Dlock.Dlock>>()
expectTypeOf(Dlock.fanout("k", Effect.fail("words" as const), { keep: "1 minute" }))
  .toEqualTypeOf<Effect.Effect<never, "words" | Own, Dlock.Dlock>>()
declare const optional: Effect.Effect<{ readonly a?: string }>
Dlock.fanout("k", optional)
expectTypeOf<Fanout.Json<Tree>>().toEqualTypeOf<Tree>()

// What is none.

// @ts-expect-error a Date
Dlock.fanout("k", Effect.succeed(new Date()))
// @ts-expect-error a Date inside
Dlock.fanout("k", Effect.succeed({ list: [{ at: new Date() }] }))
// @ts-expect-error a Map
Dlock.fanout("k", Effect.succeed(new Map<string, number>()))
// @ts-expect-error a Set
Dlock.fanout("k", Effect.succeed({ tags: new Set<string>() }))
// @ts-expect-error a bigint
Dlock.fanout("k", Effect.succeed(1n))
// @ts-expect-error an Option
Dlock.fanout("k", Effect.succeed(Option.some(1)))
// @ts-expect-error a class with a method
Dlock.fanout("k", Effect.succeed(new WithMethod(1)))
// @ts-expect-error unknown
Dlock.fanout("k", Effect.succeed<unknown>(1))
// @ts-expect-error bytes
Dlock.fanout("k", Effect.succeed(new Uint8Array()))
// @ts-expect-error bytes inside
Dlock.fanout("k", Effect.succeed({ photo: Buffer.from("a") }))
// @ts-expect-error an error as a success
Dlock.fanout("k", Effect.succeed(new Error("x")))
// @ts-expect-error a RegExp
Dlock.fanout("k", Effect.succeed(/a/))
// @ts-expect-error a URL
Dlock.fanout("k", Effect.succeed({ links: [new URL("http://a.example")] }))
declare const anything: { readonly any: any; readonly inside: { readonly list: Array<any> } }
// @ts-expect-error any
Dlock.fanout("k", Effect.succeed(anything.any))
// @ts-expect-error any inside
Dlock.fanout("k", Effect.succeed(anything.inside))
// @ts-expect-error any as a failure
Dlock.fanout("k", Effect.fail(anything.any))
// @ts-expect-error any, piped
Effect.succeed(anything.any).pipe(Dlock.fanout("k"))
// @ts-expect-error any, of push
Dlock.push("k", (_exit: Exit.Exit<any, Own>) => Effect.void)
// @ts-expect-error an error with a Date
Dlock.fanout("k", Effect.fail(new At({ at: new Date() })))
// @ts-expect-error an error without a tag
Dlock.fanout("k", Effect.fail(new Error("x")))
// @ts-expect-error an error of this library with a Duration
Dlock.fanout("k", Effect.scoped(Effect.asVoid(Dlock.once("k"))))

// The job has a scope of its own, and needs everything else of its caller.

class Database extends Context.Service<Database, string>()("Database") {}
declare const scoped: Effect.Effect<number, Gone, Scope.Scope | Database>
type Scoped = Effect.Effect<number, Gone | Own, Database | Dlock.Dlock>
expectTypeOf(Dlock.fanout("k", scoped)).toEqualTypeOf<Scoped>()
expectTypeOf(scoped.pipe(Dlock.fanout("k"))).toEqualTypeOf<Scoped>()
declare const service: Dlock.Service
expectTypeOf(service.fanout("k", scoped)).toEqualTypeOf<Effect.Effect<number, Gone | Own, Database>>()

// Piped: the same.

expectTypeOf(tree.pipe(Dlock.fanout("k"))).toEqualTypeOf<Effect.Effect<Tree, Gone | Missing | Own, Dlock.Dlock>>()
expectTypeOf(Effect.succeed("a" as const).pipe(Dlock.fanout("k", { keep: "1 minute" })))
  .toEqualTypeOf<Effect.Effect<"a", Own, Dlock.Dlock>>()
expectTypeOf(Effect.void.pipe(Dlock.fanout("k", { onBackendError: "run" }), Effect.timeoutOption("1 second")))
  .toEqualTypeOf<Effect.Effect<Option.Option<void>, Own, Dlock.Dlock>>()
// @ts-expect-error a Date
Effect.succeed(new Date()).pipe(Dlock.fanout("k"))
// @ts-expect-error an error with a Date
Effect.fail(new At({ at: new Date() })).pipe(Dlock.fanout("k", { ttl: "1 minute" }))
// @ts-expect-error no option
Effect.succeed(1).pipe(Dlock.fanout("k", { retry: 1 }))
// @ts-expect-error no option
Dlock.fanout("k", Effect.succeed(1), { retry: 1 })

// With a schema all of it is.

expectTypeOf(
  Dlock.fanout("k", Effect.succeed(new Date()), { schema: { success: Schema.Date, error: Schema.Never } })
).toEqualTypeOf<Effect.Effect<Date, Own, Dlock.Dlock>>()

declare const dated: Effect.Effect<Date, At>
expectTypeOf(Dlock.fanout("k", dated, { schema: { success: Schema.Date, error: At }, ttl: "1 minute" }))
  .toEqualTypeOf<Effect.Effect<Date, At | Own, Dlock.Dlock>>()
// @ts-expect-error a schema of something else
Dlock.fanout("k", dated, { schema: { success: Schema.Number, error: At } })
expectTypeOf(dated.pipe(Dlock.fanout("k", { schema: { success: Schema.Date, error: At } })))
  .toEqualTypeOf<Effect.Effect<Date, At | Own, Dlock.Dlock>>()
expectTypeOf(Effect.succeed(new Date()).pipe(Dlock.fanout("k", { schema: { success: Schema.Date, error: At } })))
  .toEqualTypeOf<Effect.Effect<Date, At | Own, Dlock.Dlock>>()
// @ts-expect-error a schema of something else
dated.pipe(Dlock.fanout("k", { schema: { success: Schema.Number, error: At } }))

// push

declare const onCompleted: (
  exit: Exit.Exit<number, Missing | DlockError.BackendError | DlockError.FanoutError>
) => Effect.Effect<void>
expectTypeOf(Dlock.push("k", onCompleted)).toEqualTypeOf<
  Effect.Effect<
    Fanout.Completion<number, Missing>,
    DlockError.LockAcquisitionError | DlockError.BackendError | DlockError.InvalidKeyError,
    Scope.Scope | Dlock.Dlock
  >
>()
declare const onDate: (exit: Exit.Exit<Date, DlockError.BackendError | DlockError.FanoutError>) => Effect.Effect<void>
// @ts-expect-error a Date
Dlock.push("k", onDate)
Dlock.push("k", onDate, { schema: { success: Schema.Date, error: Schema.Never } })
