import * as Either from "effect3/Either"
import * as Schema from "effect3/Schema"
import * as Result from "./Result.js"

export * from "effect3/Schema"
export {
  decodeUnknown as decodeUnknownEffect,
  encodeUnknown as encodeUnknownEffect,
  int as isInt,
  parseJson as fromJsonString
} from "effect3/Schema"

export type Codec<A, I = A> = Schema.Schema<A, I>

type AnySchema = Schema.Schema.Any

export const Literals = <const L extends ReadonlyArray<string | number | boolean | null>>(literals: L) =>
  Schema.Literal(...literals)

export type Tuple<Elements extends Schema.TupleType.Elements> = Schema.Tuple<Elements>
export const Tuple = <const Elements extends Schema.TupleType.Elements>(elements: Elements): Schema.Tuple<Elements> =>
  Schema.Tuple(...elements)

export type Union<Members extends ReadonlyArray<AnySchema>> = Schema.Union<Members>
export const Union = <const Members extends readonly [AnySchema, AnySchema, ...Array<AnySchema>]>(
  members: Members
): Schema.Union<Members> => Schema.Union<Members>(...members)

export const optionalKey = <S extends AnySchema>(schema: S) => Schema.optionalWith(schema, { exact: true })

export const Defect = () => Schema.Defect

export const check = <F>(filter: F): F => filter

export const decodeUnknownResult = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = Schema.decodeUnknownEither(schema)
  return (input: unknown): Result.Result<A, unknown> =>
    Either.match(decode(input), {
      onLeft: (error): Result.Result<A, unknown> => Result.fail(error),
      onRight: Result.succeed
    })
}
