/** What a worker does that asks for one outcome of every kind, and says what it has got. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { Dlock } from "../../src/index.js"

class Sold extends Schema.TaggedError<Sold>()("Sold", { left: Schema.Number, at: Schema.Date }) {}

/** All of these are the same JSON on both majors of Effect. */
const Ticket = Schema.Struct({
  seat: Schema.Number,
  at: Schema.Date,
  tags: Schema.ReadonlySet(Schema.String),
  lasts: Schema.DurationFromMillis,
  price: Schema.BigInt,
  barcode: Schema.Uint8ArrayFromBase64,
  gate: Schema.Option(Schema.String),
  link: Schema.URL,
  code: Schema.Redacted(Schema.String),
  note: Schema.NullOr(Schema.String)
})

const schema = { success: Ticket, error: Sold }
const at = new Date(86_400_000)

const ticket = {
  seat: 7,
  at,
  tags: new Set(["a", "b"]),
  lasts: Duration.millis(90),
  price: 10n,
  barcode: new Uint8Array([1, 2]),
  gate: Option.some("B"),
  link: new URL("https://shop.example/7"),
  code: Redacted.make("hush"),
  note: null
}

/** What is left of it in a message to the test. */
export const encodedAlike = {
  lasts: "Duration 90",
  price: "BigInt 10",
  barcode: "Uint8Array 1,2",
  gate: "Option B",
  link: "URL https://shop.example/7",
  code: "Redacted hush",
  note: null
}

/** Each shared under its name, by a job that says `ran`. */
const kinds = {
  nothing: (id: string, ran: Effect.Effect<void>) => Dlock.fanout(id, ran),
  value: (id: string, ran: Effect.Effect<void>) => Dlock.fanout(id, Effect.as(ran, { list: [1, "two", null] })),
  failure: (id: string, ran: Effect.Effect<void>) =>
    Dlock.fanout(id, Effect.andThen(ran, Effect.fail({ _tag: "SoldOut", left: 0 } as const))),
  defect: (id: string, ran: Effect.Effect<void>) =>
    Dlock.fanout(id, Effect.andThen(ran, Effect.die(new RangeError("out of seats")))),
  large: (id: string, ran: Effect.Effect<void>) => Dlock.fanout(id, Effect.as(ran, "x".repeat(70_000))),
  ticket: (id: string, ran: Effect.Effect<void>) => Dlock.fanout(id, Effect.as(ran, ticket), { schema }),
  sold: (id: string, ran: Effect.Effect<void>) =>
    Dlock.fanout(id, Effect.andThen(ran, Effect.fail(new Sold({ left: 2, at }))), { schema })
}

const show = (value: unknown): unknown =>
  value instanceof Date
    ? `Date ${value.toISOString()}`
    : value instanceof Set
    ? `Set ${[...value].join()}`
    : Duration.isDuration(value)
    ? `Duration ${Duration.toMillis(value)}`
    : typeof value === "bigint"
    ? `BigInt ${value}`
    : value instanceof Uint8Array
    ? `Uint8Array ${value.join()}`
    : Option.isOption(value)
    ? `Option ${Option.getOrUndefined(value)}`
    : value instanceof URL
    ? `URL ${value.href}`
    : Redacted.isRedacted(value)
    ? `Redacted ${Redacted.value(value)}`
    : value instanceof Error
    // Effect 3 makes up a message of an error that has none.
    ? { class: value.constructor.name, ...("_tag" in value ? {} : { message: value.message }), ...shown(value) }
    : Array.isArray(value) || typeof value !== "object" || value === null
    ? value
    : shown(value)

const shown = (fields: object): object =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, show(value)]))

/** All at once. `ran` is told which job runs, and takes its time. */
export const askForAll = (key: string, ran: (kind: string) => Effect.Effect<void>) =>
  Effect.forEach(
    Object.entries(kinds),
    ([kind, ask]) =>
      Effect.map(Effect.exit<unknown, unknown, Dlock.Dlock>(ask(`${key}:${kind}`, ran(kind))), (exit) =>
        [
          kind,
          Exit.isSuccess(exit) ? "success" : "failure",
          show(Exit.isSuccess(exit) ? exit.value : Cause.squash(exit.cause))
        ] as const),
    {
      concurrency: "unbounded"
    }
  )

export const kindsCount = Object.keys(kinds).length
