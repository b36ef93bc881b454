/**
 * What a job came to, as the bytes that leader and followers alike read it from. A payload is a JSON array: what it is,
 * and the value unless that is undefined.
 *
 * Defects travel as their name and message, without the stack of another process; interruption does not travel. Of a
 * cause with several parts the first failure counts, or else the first defect.
 */
import * as Edition from "#edition"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { FanoutError } from "../DlockError.js"
import * as Json from "./json.js"
import { lazy } from "./lazy.js"
import { said } from "./said.js"

/** How to write and read values. Without it they are JSON as they are. */
export interface Schemas {
  readonly success: Edition.AnyCodec
  readonly error: Edition.AnyCodec
}

type Reason = FanoutError["reason"]

const readEnvelope = lazy(() =>
  Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Union([
    Schema.Tuple([Schema.Literals(["success", "failure"]), Edition.optionalElement(Schema.Unknown)]),
    Schema.Tuple([Schema.Literal("defect"), Schema.Defect()]),
    Schema.Tuple([Schema.Literal("fanout"), FanoutError.fields.reason, Schema.String])
  ])))
)

const parse = Option.liftThrowable((payload: string): unknown => JSON.parse(payload))

/** The two usual payloads, as `Envelope` reads them, but at once. Undefined when it is another. */
const readPlain = (payload: string): Exit.Exit<unknown, unknown> | undefined => {
  const envelope = Option.getOrUndefined(parse(payload))
  if (!Array.isArray(envelope) || envelope.length === 0 || envelope.length > 2) return undefined
  const [kind, value]: ReadonlyArray<unknown> = envelope
  return kind === "success" ? Exit.succeed(value) : kind === "failure" ? Exit.fail(value) : undefined
}

/** The payload that fails everybody alike. */
export const fanoutError = (reason: Reason, words: string): string => JSON.stringify(["fanout", reason, words])

/** Of a job that was interrupted by itself, or by whatever else. */
export const interrupted: string = fanoutError("Interrupted", "the job was interrupted")

const words = (error: unknown): string => error instanceof Error ? error.message : String(error)

/** An error without a schema: its fields, name and message. A stack is nobody else's business. */
const plain = (error: unknown): unknown => {
  if (!(error instanceof Error)) return error
  const { cause: _cause, stack: _stack, ...fields } = error
  // Without symbols, by which libraries know their own errors.
  return { ...Object.fromEntries(Object.entries(fields)), name: error.name, message: error.message }
}

const toPayload = (kind: "success" | "failure" | "defect", value: unknown, schemas: Schemas | undefined): string => {
  const flaw = Json.whyNot(value)
  if (flaw !== undefined) {
    return fanoutError("Encode", `${flaw}. ${schemas ? "The schema must encode it" : "Give the option `schema`"}.`)
  }
  return value === undefined ? JSON.stringify([kind]) : `["${kind}",${JSON.stringify(value)}]`
}

/** Whether it is worth keeping: not what could not be written either. */
export const isSuccess = (payload: string): boolean => payload.startsWith(`["success"`)

const isLonger = (payload: string, bytes: number): boolean =>
  // UTF-8 needs at most 3 bytes for a UTF-16 unit.
  payload.length * 3 > bytes && (payload.length > bytes || new TextEncoder().encode(payload).length > bytes)

const written = (
  exit: Exit.Exit<unknown, unknown>,
  schemas: Schemas | undefined
): Effect.Effect<string, unknown> => {
  if (Exit.isSuccess(exit)) {
    const value = schemas
      ? Schema.encodeUnknownEffect(Edition.jsonCodec(schemas.success))(exit.value)
      : Effect.succeed(exit.value)
    return Effect.map(value, (value) => toPayload("success", value, schemas))
  }
  const failure = Cause.findErrorOption(exit.cause)
  if (Option.isSome(failure)) {
    const error = schemas
      ? Schema.encodeUnknownEffect(Edition.jsonCodec(schemas.error))(failure.value)
      : Effect.succeed(plain(failure.value))
    return Effect.map(error, (error) => toPayload("failure", error, schemas))
  }
  const defects = Edition.errorsIn(exit.cause)
  return Effect.sync(() =>
    defects.length === 0 ? interrupted : toPayload("defect", Schema.encodeSync(Schema.Defect())(defects[0]), schemas)
  )
}

/** The payload of what a job came to. Whatever is wrong with it becomes a payload that says so. */
export const write = (
  exit: Exit.Exit<unknown, unknown>,
  schemas: Schemas | undefined,
  maxPayloadBytes: number
): Effect.Effect<string> =>
  Effect.suspend(() => written(exit, schemas)).pipe(
    Effect.map((payload) =>
      isLonger(payload, maxPayloadBytes)
        ? fanoutError("TooLarge", `it is longer than ${maxPayloadBytes} bytes`)
        : payload
    ),
    Effect.catchCause((cause) => Effect.succeed(fanoutError("Encode", words(Cause.squash(cause)))))
  )

/** What a payload says: an Exit already when no schema has to be asked. */
export const read = (
  id: string,
  payload: string,
  schemas: Schemas | undefined
): Effect.Effect<unknown, unknown> => {
  const failed = (reason: Reason, why: unknown) => Effect.fail(new FanoutError({ id, reason, cause: said(words(why)) }))
  const plain = schemas === undefined ? readPlain(payload) : undefined
  if (plain !== undefined) return plain
  const envelope = readEnvelope()(payload)
  if (Result.isFailure(envelope)) return failed("Decode", "it is no outcome")
  const [kind, value, fanoutWords] = envelope.success
  const decode = (schema: Edition.AnyCodec | undefined): Effect.Effect<unknown, FanoutError> =>
    schema === undefined ? Effect.succeed(value) : Schema.decodeUnknownEffect(Edition.jsonCodec(schema))(value).pipe(
      Effect.catchCause((cause) => failed("Decode", Cause.squash(cause)))
    )
  switch (kind) {
    case "success":
      return decode(schemas?.success)
    case "failure":
      return Effect.flatMap(decode(schemas?.error), (error): Effect.Effect<never, unknown> => Effect.fail(error))
    case "defect":
      return Effect.die(value)
    case "fanout":
      return failed(value, fanoutWords)
  }
}
