/** All of a package that is not made of the sources: what it says of itself, the sources, and the documents. */
import * as fs from "node:fs"
import * as path from "node:path"
import { folderOf, root } from "./editions.mjs"

const exportsOf = ({ formats, out }, name) => {
  const esm = { types: `./${out}/${name}.d.ts`, default: `./${out}/${name}.js` }
  if (!formats.includes("cjs")) return esm
  return { import: esm, require: { types: `./${out}/${name}.d.cts`, default: `./${out}/${name}.cjs` } }
}

const manifest = (edition) => {
  const { description, engines, keywords, license, name, peerDependencies } = JSON.parse(
    fs.readFileSync(path.join(root, "package.json"), "utf8")
  )
  const { optionalPeers, peers, version } = edition
  return {
    name,
    version,
    description: description.replace("Effect", `Effect ${peers.effect.charAt(1)}`),
    keywords,
    license,
    type: "module",
    sideEffects: [],
    engines,
    exports: {
      ".": exportsOf(edition, "index"),
      "./package.json": "./package.json",
      "./index": null,
      "./internal/*": null,
      "./*": exportsOf(edition, "*")
    },
    peerDependencies: { ...peers, ...optionalPeers, ioredis: peerDependencies.ioredis },
    ...Object.keys(optionalPeers).length === 0 ? {} : {
      peerDependenciesMeta: Object.fromEntries(Object.keys(optionalPeers).map((peer) => [peer, { optional: true }]))
    }
  }
}

/** The tests of the edition, and what has another file in its place. */
const isElsewhere = (edition, file) => file.endsWith("testing") || edition.replaced.includes(file)

export const writeManifest = (edition) => {
  const folder = folderOf(edition)
  fs.writeFileSync(path.join(folder, "package.json"), `${JSON.stringify(manifest(edition), null, 2)}\n`)
  for (const name of ["CHANGELOG.md", "LICENSE", "README.md", "docs"]) {
    fs.cpSync(path.join(root, name), path.join(folder, name), { recursive: true })
  }
  for (const [from, to] of Object.entries(edition.sources)) {
    fs.cpSync(path.join(root, from), path.join(folder, to), {
      recursive: true,
      filter: (file) => !isElsewhere(edition, file)
    })
  }
}
