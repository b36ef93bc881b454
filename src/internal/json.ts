/**
 * What JSON would change without a word, and where. `JSON.stringify` makes `{}` of a `Map`, text of a `Date`, and nothing at
 * all of a getter.
 *
 * Accepted are null, booleans, strings, finite numbers, arrays and objects of these. An object counts by its own fields: a
 * class may add nothing but them, so Effect's `Data` is accepted. Three changes are: -0 arrives as 0, a field that is
 * undefined is left out, and an object arrives without its class.
 */

/** A value inside another, by the keys that lead to it, the last one first. */
interface Flaw {
  readonly words: string
  readonly path: Array<string | number>
}

const flaw = (words: string): Flaw => ({ words, path: [] })

/** Why the value is not JSON, if it is not: `$.user.photo is an instance of Uint8Array, which is not JSON`. */
export const whyNot = (value: unknown): string | undefined => {
  const found = flawOf(value, [])
  return found && `$${found.path.reverse().map(step).join("")} ${found.words}`
}

const step = (key: string | number): string =>
  typeof key === "number" ? `[${key}]` : /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`

const flawOf = (value: unknown, parents: Array<object>): Flaw | undefined => {
  switch (typeof value) {
    case "string":
    case "boolean":
    case "undefined":
      return undefined
    case "number":
      return Number.isFinite(value) ? undefined : flaw(`is ${value}, which is not JSON`)
    case "object":
      return value === null ? undefined : flawOfObject(value, parents)
    default:
      return flaw(`is a ${typeof value}, which is not JSON`)
  }
}

const flawOfObject = (value: object, parents: Array<object>): Flaw | undefined => {
  if (parents.includes(value)) return flaw("is an object that contains it, which is not JSON")
  if (!isBare(Object.getPrototypeOf(value), Array.isArray(value))) return flaw(`is ${kindOf(value)}, which is not JSON`)
  parents.push(value)
  const found = Array.isArray(value) ? flawOfArray(value, parents) : flawOfFields(value, parents)
  parents.pop()
  return found
}

const flawOfArray = (values: ReadonlyArray<unknown>, parents: Array<object>): Flaw | undefined => {
  for (let i = 0; i < values.length; i++) {
    const found = values[i] === undefined
      ? flaw("is undefined in an array, which is not JSON")
      : flawOf(values[i], parents)
    if (found !== undefined) return inside(i, found)
  }
  // What a database driver hides at its rows, which cannot be enumerated, is nobody's data.
  return Object.keys(values).length === values.length
    ? undefined
    : flaw("has properties beside its elements, which JSON leaves out")
}

const flawOfFields = (fields: object, parents: Array<object>): Flaw | undefined => {
  const keys = Object.keys(fields)
  if (Reflect.ownKeys(fields).length !== keys.length) {
    return flaw("has properties that are symbols or not enumerable, which JSON leaves out")
  }
  for (const key of keys) {
    const found = flawOf(Reflect.get(fields, key), parents)
    if (found !== undefined) return inside(key, found)
  }
  return undefined
}

const inside = (key: string | number, found: Flaw): Flaw => {
  found.path.push(key)
  return found
}

/** Whether it has no property that a reader would miss: no getter, method, `toJSON`. Symbols are between libraries. */
const isBare = (prototype: object | null, isArray: boolean): boolean =>
  prototype === null || prototype === Object.prototype || (isArray ? Array.isArray(prototype) : isRoot(prototype)) ||
  (Object.getOwnPropertyNames(prototype).every((name) => name === "constructor") &&
    isBare(Object.getPrototypeOf(prototype), isArray))

/** `Object.prototype` of another realm: what `fetch` gives to a test that runs in one of its own has that. */
const isRoot = (prototype: object): boolean =>
  Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "hasOwnProperty")

const kindOf = (value: object): string => {
  const name: unknown = value.constructor?.name
  return typeof name === "string" && name !== "" && name !== "Object"
    ? `an instance of ${name}`
    : "an object with properties that are not its own"
}
