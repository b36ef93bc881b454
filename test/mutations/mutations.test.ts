import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { fileURLToPath } from "node:url"
import { mutations } from "./mutations.js"

const root = fileURLToPath(new URL("../../", import.meta.url))

describe("the mutations", () => {
  it("each are in one place of the sources, as they are now", () => {
    for (const { file, find, name, replace } of mutations) {
      assert.lengthOf(fs.readFileSync(root + file, "utf8").split(find), 2, `${name}, in ${file}`)
      assert.notStrictEqual(find, replace)
    }
  })
})
