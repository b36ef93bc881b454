/** The declarations, as the compiler makes them: those of the public modules, and of the others what these need. */
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { promisify } from "node:util"
import { folderOf, packedSource, root } from "./editions.mjs"

const specifiers = /((?:from |import\()")([^"\n]+)"/g

const isEdition = (specifier) => specifier.startsWith("#")

/** The files, from those of the public modules on, and what they import of ours. */
const reached = (edition, made) => {
  const files = new Map()
  const visit = (source, target) => {
    if (files.has(source)) return
    const text = fs.readFileSync(source, "utf8")
    files.set(source, { target, text })
    for (const [, , specifier] of text.matchAll(specifiers)) {
      const file = specifier.replace(/js$/, "d.ts")
      if (isEdition(specifier)) {
        visit(
          path.join(made, path.relative(root, edition.own(specifier)).replace(/ts$/, "d.ts")),
          editionFiles[specifier]
        )
      } else if (specifier.startsWith(".")) {
        visit(path.join(path.dirname(source), file), path.join(path.dirname(target), file))
      }
    }
  }
  for (const file of fs.readdirSync(path.join(made, "src"))) {
    if (file.endsWith(".d.ts")) visit(path.join(made, "src", file), file)
  }
  return files
}

/** Where the package has what an edition has a file of its own for. */
const editionFiles = { "#edition": "internal/edition.d.ts", "#http-edition": "internal/http/edition.d.ts" }

const relative = (from, to) => {
  const found = path.relative(path.dirname(from), to).replaceAll("\\", "/")
  return found.startsWith(".") ? found : `./${found}`
}

const named = (edition, target, specifier) =>
  isEdition(specifier)
    ? relative(target, editionFiles[specifier]).replace(/d\.ts$/, "js")
    : edition.named(specifier)

/** CommonJS needs its own, or TypeScript would take them for those of an ES module. */
const suffixes = { es: "ts", cjs: "cts" }

export const writeDeclarations = async (edition) => {
  const made = path.join(folderOf(edition), ".declarations")
  const tsc = path.join(root, "node_modules/typescript/bin/tsc")
  await promisify(execFile)(process.execPath, [tsc, "-p", edition.tsconfig, "--outDir", made], { cwd: root })
    .catch(({ stdout }) => Promise.reject(new Error(stdout)))
  const out = path.join(folderOf(edition), edition.out)
  for (const [source, { target, text }] of reached(edition, made)) {
    const map = JSON.parse(fs.readFileSync(`${source}.map`, "utf8"))
    const sources = map.sources.map((file) => packedSource(edition, path.resolve(path.dirname(source), file)))
    fs.mkdirSync(path.dirname(path.join(out, target)), { recursive: true })
    for (const format of edition.formats) {
      const file = target.replace(/ts$/, suffixes[format])
      const extension = suffixes[format].replace("t", "j")
      fs.writeFileSync(
        path.join(out, file),
        text
          .replace(specifiers, (_, before, specifier) => `${before}${named(edition, target, specifier)}"`)
          .replace(/((?:from |import\()"\.[^"\n]*\.)js"/g, `$1${extension}"`)
          .replace(/(\/\/# sourceMappingURL=).*/, `$1${path.basename(file)}.map`)
      )
      fs.writeFileSync(
        path.join(out, `${file}.map`),
        JSON.stringify({
          ...map,
          file: path.basename(file),
          sources: sources.map((from) => path.relative(path.dirname(path.join(out, file)), from))
        })
      )
    }
  }
  fs.rmSync(made, { recursive: true })
}
