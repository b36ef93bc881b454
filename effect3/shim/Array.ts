export * from "effect3/Array"
export { isNonEmptyArray as isArrayNonEmpty } from "effect3/Array"
