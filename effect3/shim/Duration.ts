export * from "effect3/Duration"
export { decode as fromInputUnsafe, decodeUnknown as fromInput, type DurationInput as Input } from "effect3/Duration"
