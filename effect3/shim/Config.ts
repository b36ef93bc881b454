export * from "effect3/Config"
export { duration as Duration, integer as Int, redacted as Redacted, string as String } from "effect3/Config"
