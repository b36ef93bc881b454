// Writes `dist`: a package for Effect 4 and one for Effect 3, each in a folder that is ready for `npm pack`.
import * as fs from "node:fs"
import * as path from "node:path"
import { writeCode } from "./build/code.mjs"
import { writeDeclarations } from "./build/declarations.mjs"
import { editions, folderOf, root } from "./build/editions.mjs"
import { writeManifest } from "./build/manifest.mjs"

fs.rmSync(path.join(root, "dist"), { recursive: true, force: true })
await Promise.all(editions.map(async (edition) => {
  fs.mkdirSync(folderOf(edition), { recursive: true })
  const declarations = writeDeclarations(edition)
  writeManifest(edition)
  await Promise.all([declarations, writeCode(edition)])
}))
