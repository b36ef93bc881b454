/**
 * How the sources and tests, which speak Effect 4, find what they import in the edition for Effect 3: a module of Effect is
 * the one in `shim` where there is one, or else Effect 3's own. The compiler has the same in tsconfig.json, as `paths`.
 */
import { existsSync } from "node:fs"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"

const require = createRequire(import.meta.url)

const inShim = {
  "#edition": "edition",
  "#http-edition": "http/edition",
  "#test-edition": "testing/edition",
  "@effect/vitest": "testing/vitest"
}

/** The url of a module that another name means, or undefined. */
export const shimmed = (specifier) => {
  const name = inShim[specifier] ?? /^effect\/(.*)/.exec(specifier)?.[1]
  if (name === undefined) return undefined
  const url = new URL(`./shim/${name}.ts`, import.meta.url).href
  return existsSync(fileURLToPath(url)) ? url : undefined
}

/** In the shim the first two mean Effect 3's own. Its HTTP is a package of its own. */
export const ofEffect3 = (specifier) =>
  specifier.replace(/^effect3\//, "effect/").replace(/^effect3-vitest$/, "@effect/vitest")
    .replace(/^effect\/http\//, "@effect/platform/")

const isOurs = (specifier) => /^(effect|effect3|@effect\/.*|effect3-vitest|vitest)(\/|$)/.test(specifier)

/** As `import` finds it. Not by `import.meta.resolve`, which vitest does not have. */
const find = (specifier) =>
  specifier === "vitest"
    ? new URL("./node_modules/vitest/dist/index.js", import.meta.url).href
    : pathToFileURL(require.resolve(specifier).replace("/dist/cjs/", "/dist/esm/")).href

/** The url of what an import means, or undefined when that is as everywhere. */
export const resolve = (specifier) => shimmed(specifier) ?? (isOurs(specifier) ? find(ofEffect3(specifier)) : undefined)

/** For Rollup, Vite and vitest. */
export const plugin = {
  name: "effect3",
  enforce: "pre",
  resolveId: (specifier) => {
    const url = resolve(specifier)
    return url === undefined ? undefined : fileURLToPath(url)
  }
}

/** For esbuild: what it bundles is run by itself. */
export const esbuildPlugin = {
  name: "effect3",
  setup: ({ onResolve }) => {
    onResolve({ filter: /^(#|effect|@effect|vitest)/ }, ({ path: specifier }) => {
      const url = resolve(specifier)
      if (url === undefined) return undefined
      const path = fileURLToPath(url)
      return { path, external: path.includes("node_modules") }
    })
  }
}
