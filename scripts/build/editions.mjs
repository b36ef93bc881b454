/** The two packages: what is told of each, and how what its sources import is found. */
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { ofEffect3, shimmed } from "../../effect3/resolve.mjs"

export const root = fileURLToPath(new URL("../..", import.meta.url))

const { imports } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"))

const ownOfEffect4 = Object.values(imports).map((file) => path.join(root, file))

/**
 * `own` is the file that takes the place of an import, if one does, and `named` what the package calls any other.
 * `sources` are the folders, here and in the package, that its code is made of, but for what is `replaced`.
 *
 * Beside another major of Effect an import fails before anything can run, and all that Node tells then is the path of the
 * file: so `out`, where the code is, says what is wrong.
 */
export const editions = [
  {
    name: "effect4",
    version: "4.0.0",
    peers: { effect: "^4.1.0" },
    optionalPeers: {},
    // As Effect 4 is.
    formats: ["es"],
    out: "needs-effect-4",
    tsconfig: "tsconfig.build.json",
    sources: { src: "src" },
    replaced: [],
    own: (specifier) => specifier in imports ? path.join(root, imports[specifier]) : undefined,
    named: (specifier) => specifier
  },
  {
    name: "effect3",
    version: "3.0.0",
    peers: { effect: "^3.22.0" },
    optionalPeers: { "@effect/platform": "^0.97.0" },
    formats: ["es", "cjs"],
    out: "needs-effect-3",
    tsconfig: "effect3/tsconfig.build.json",
    sources: { src: "src", "effect3/shim": "shim" },
    replaced: ownOfEffect4,
    own: (specifier) => {
      const url = shimmed(specifier)
      return url === undefined ? undefined : fileURLToPath(url)
    },
    named: ofEffect3
  }
]

export const folderOf = ({ name }) => path.join(root, "dist", name)

/** Where the package has a source, for its source maps. */
export const packedSource = (edition, file) => {
  const [from, to] = Object.entries(edition.sources).find(([from]) => file.startsWith(path.join(root, from, "/")))
  return path.join(folderOf(edition), to, path.relative(path.join(root, from), file))
}
