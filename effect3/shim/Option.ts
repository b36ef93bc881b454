export * from "effect3/Option"
export { fromNullable as fromNullishOr } from "effect3/Option"
