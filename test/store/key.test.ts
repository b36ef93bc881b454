import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as FastCheck from "fast-check"
import * as Key from "../../src/internal/key.js"
import { keysOf } from "./backends.js"
import { target } from "./world.js"

const legal = [
  "a",
  " ",
  "{",
  "}",
  "{}",
  "}{",
  "{{}}",
  "{a}",
  "{a}b",
  "a{b}",
  "a}b{c",
  "}{a}",
  "{}{a}",
  "{a",
  "a}",
  "=",
  "={a}",
  "{=a}",
  "%7B",
  "%7Ba%7D",
  "%257B",
  "%",
  "{%}",
  "a:b",
  "a:b:fence",
  ":",
  "new\nline",
  "\r\n",
  "nul\0nul",
  "\0",
  "🎈",
  "{🎈}",
  "é",
  "e\u0301",
  "\u202e",
  "x".repeat(1024),
  "{".repeat(1024),
  "é".repeat(512),
  "日".repeat(341),
  "🎈".repeat(256)
]

/** Strings in which braces, percent signs and what separates the parts of a name are frequent. */
const nasty = FastCheck.array(
  FastCheck.oneof(
    FastCheck.constantFrom("{", "}", "%", "=", ":", "{}", "%7B", "%25", "lock", "fence", "\0", "\n", "🎈", "a"),
    FastCheck.fullUnicodeString({ maxLength: 3 })
  ),
  { maxLength: 8 }
).map((parts) => parts.join(""))

const nastyKey = nasty.filter((text) => text.length > 0)

const nameOf = (prefix: string, key: string): string => keysOf(target(key), prefix)[0]

/** By the rule of Redis: what is between the first `{` and the next `}`, if there is anything. */
const hashTag = (name: string): string | undefined => {
  const open = name.indexOf("{")
  const close = name.indexOf("}", open + 1)
  return open >= 0 && close > open + 1 ? name.slice(open + 1, close) : undefined
}

describe("validate", () => {
  it("takes every well-formed text of 1 to 1024 bytes as it is", () => {
    for (const key of legal) assert.deepStrictEqual(Key.validate(key), Result.succeed(key))
  })

  const illegal: ReadonlyArray<readonly [unknown, string]> = [
    ["", "Empty"],
    ["x".repeat(1025), "TooLong"],
    ["é".repeat(512) + "x", "TooLong"],
    ["日".repeat(342), "TooLong"],
    ["🎈".repeat(256) + "x", "TooLong"],
    ["x".repeat(1_000_000), "TooLong"],
    ["\ud800", "NotWellFormed"],
    ["a\udc00b", "NotWellFormed"],
    ["\udf88\ud83c", "NotWellFormed"],
    ["🎈\ud83c", "NotWellFormed"],
    [undefined, "NotAString"],
    [null, "NotAString"],
    [1, "NotAString"],
    [["a"], "NotAString"],
    [new String("a"), "NotAString"]
  ]
  for (const [i, [key, reason]] of illegal.entries()) {
    it(`refuses illegal key ${i}: ${reason}`, () => {
      const result = Key.validate(key)
      assert(Result.isFailure(result))
      assert.strictEqual(result.failure._tag, "InvalidKeyError")
      assert.strictEqual(result.failure.reason, reason)
      assert.isAtMost(result.failure.key.length, 64)
      assert.isBelow(result.failure.message.length, 600)
    })
  }

  it("takes a text exactly when Redis would give it back as it is, and it has 1 to 1024 bytes", () =>
    FastCheck.assert(FastCheck.property(
      FastCheck.oneof(FastCheck.string16bits(), FastCheck.fullUnicodeString({ minLength: 200, maxLength: 600 }), nasty),
      (key) => {
        const bytes = Buffer.from(key)
        const fits = bytes.length >= 1 && bytes.length <= 1024 && bytes.toString() === key
        assert.strictEqual(Result.isSuccess(Key.validate(key)), fits)
      }
    )))
})

describe("encodeKey", () => {
  it("is undone by decodeKey", () => {
    for (const key of legal) assert.strictEqual(Key.decodeKey(Key.encodeKey(key)), key)
    FastCheck.assert(FastCheck.property(FastCheck.oneof(nastyKey, FastCheck.fullUnicodeString()), (key) => {
      assert.strictEqual(Key.decodeKey(Key.encodeKey(key)), key)
    }))
  })

  it("honours a hash tag of the key's own", () => {
    const tags = ["{a}", "{a}b", "a{b}", "}{a}", "={a}", "{=a}", "{🎈}", "x{a}{b}", "{a{b}c"].map((
      key
    ) => [key, hashTag(key)])
    assert.deepStrictEqual(tags.map(([, tag]) => tag), ["a", "a", "b", "a", "a", "=a", "🎈", "a", "a{b"])
    for (const [key, tag] of tags) assert.strictEqual(hashTag(Key.encodeKey(key!)), tag)
  })

  it("gives every name one hash tag: the key's own, or the whole key", () =>
    FastCheck.assert(FastCheck.property(nasty, nastyKey, (prefix, key) => {
      const tags = new Set(keysOf(target(key), prefix).map(hashTag))
      assert.deepStrictEqual([...tags], [hashTag(key) ?? key.replace(/[%{}]/g, encodeURIComponent)])
    })))

  it("leaves a key without braces and percent signs readable", () => {
    assert.strictEqual(nameOf("dlock", "orders:17/é"), "dlock:lock:{orders:17/é}:fence")
    assert.strictEqual(nameOf("dlock", "{user:1}:cart"), "dlock:lock:={user:1}:cart:fence")
  })
})

describe("the name of a lock", () => {
  it("is never that of another prefix and key", () => {
    const prefixes = ["", "a", "a:b", "a:lock", "a%3Ab", "%", "{", "{}", "{a}", "}", "a:lock:{b}"]
    const names = prefixes.flatMap((prefix) => legal.flatMap((key) => keysOf(target(key), prefix)))
    assert.strictEqual(new Set(names).size, prefixes.length * legal.length * 5)
  })

  it("tells where the prefix ends and the key begins", () => {
    assert.notStrictEqual(nameOf("a", "b:c"), nameOf("a:b", "c"))
    assert.notStrictEqual(nameOf("a", "lock:{b}"), nameOf("a:lock", "b"))
    assert.notStrictEqual(nameOf("a", "x:lock:{k}"), nameOf("a:lock:=x", "k"))
    assert.notStrictEqual(nameOf("", "a:b"), nameOf(":", "a:b"))
    assert.notStrictEqual(nameOf("a%3Ab", "c"), nameOf("a:b", "c"))
  })

  it("is one-to-one over random prefixes and keys", () =>
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.tuple(nasty, nastyKey), { maxLength: 20 }), (all) => {
        const distinct = new Set(all.map((pair) => JSON.stringify(pair)))
        const names = all.map(([prefix, key]) => keysOf(target(key), prefix))
        assert.strictEqual(new Set(names.flat()).size, distinct.size * 5)
      }),
      { numRuns: 500 }
    ))

  it("is one-to-one over pairs that differ in where a separator stands", () =>
    FastCheck.assert(
      FastCheck.property(nasty, nasty, nasty, nasty, (a, b, c, d) => {
        const pairs = [[a, b + c + d], [a + b, c + d], [a + b + c, d], [a + b + c + d, "x"]].filter(([, key]) =>
          key !== ""
        )
        const distinct = new Set(pairs.map((pair) => JSON.stringify(pair)))
        assert.strictEqual(new Set(pairs.map(([prefix, key]) => nameOf(prefix!, key!))).size, distinct.size)
      }),
      { numRuns: 500 }
    ))
})
