/**
 * The code of each public module, with what several of them share beside it. Few files, because to find and read sixty of
 * them is what an import took longest for.
 */
import * as fs from "node:fs"
import * as path from "node:path"
import { rollup } from "rollup"
import ts from "typescript"
import { folderOf, packedSource, root } from "./editions.mjs"

/** Comments and indentation are for those who read the sources: Redis would be sent them as well. */
const withoutComments = (lua) =>
  lua.split("\n").map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("--")).join("\n")

const isLua = (node, fileName) =>
  ts.isNoSubstitutionTemplateLiteral(node) && node.text.startsWith("\n") && /internal[/\\]redis/.test(fileName)

/** `a(…)` of `a(…)(…)` and of `a(…).pipe(…)`: one mark before it is for all of it. */
const isCallee = (node) =>
  ts.isPropertyAccessExpression(node.parent) || ts.isCallExpression(node.parent) && node.parent.expression === node

const runsLater = (node) =>
  ts.isFunctionLike(node) ||
  ts.isPropertyDeclaration(node) && !node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword)

/**
 * Calls at the top of a module are marked: no module has a side effect, so a bundler may drop what it does not need. And
 * Lua is shortened.
 */
const shaken = (context) => (file) => {
  if (file.statements.some(ts.isExpressionStatement)) throw new Error(`${file.fileName} does something when imported`)
  const visit = (node) => {
    if (runsLater(node)) return node
    if (isLua(node, file.fileName)) return ts.factory.createNoSubstitutionTemplateLiteral(withoutComments(node.text))
    const visited = ts.visitEachChild(node, visit, context)
    return (ts.isCallExpression(visited) || ts.isNewExpression(visited)) && !isCallee(node)
      ? ts.addSyntheticLeadingComment(visited, ts.SyntaxKind.MultiLineCommentTrivia, "#__PURE__")
      : visited
  }
  return ts.visitEachChild(file, visit, context)
}

const resolving = ({ named, own }) => ({
  name: "edition",
  resolveId: (id, importer) => {
    if (importer === undefined) return undefined
    if (!id.startsWith(".")) return own(id) ?? { id: named(id), external: true }
    // What re-exports whole modules stays that, or bundlers could not look into them.
    if (path.basename(importer) === "index.ts") return { id, external: true }
    return path.join(path.dirname(importer), id.replace(/\.js$/, ".ts"))
  }
})

const typescript = {
  name: "typescript",
  transform: (code, fileName) => {
    const { outputText, sourceMapText } = ts.transpileModule(code, {
      fileName,
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
        sourceMap: true
      },
      transformers: { before: [shaken] }
    })
    return { code: outputText.replace(/\/\/# sourceMappingURL=.*/, ""), map: sourceMapText }
  }
}

const inSrc = (id) => path.relative(path.join(root, "src"), id)

const isOfErrors = (id, getModuleInfo) =>
  inSrc(id) === "DlockError.ts" ||
  inSrc(id).startsWith("..") && getModuleInfo(id).importers.some((importer) => isOfErrors(importer, getModuleInfo))

/**
 * Nearly all is one file: whoever uses a part of the service needs the service. The errors are of use without it, say in a
 * browser, and HTTP is a lot to load. The shim goes where it is needed.
 */
const fileOf = (id, { getModuleInfo }) => {
  if (isOfErrors(id, getModuleInfo)) return "errors"
  return /^(HttpFanout\.ts|internal[/\\]http|\.\.)/.test(inSrc(id)) ? undefined : "dlock"
}

/** CommonJS can say it in words before it fails. What is required here is loaded in any case. */
const guard = `try {
  require("effect/Either");
} catch (cause) {
  throw new Error("effect-dlock 3 is for Effect 3: install effect@3, or effect-dlock@4 for Effect 4", { cause });
}`

const needsEffect = ({ imports }) => imports.some((id) => /^@?effect\//.test(id))

const extensions = { es: "js", cjs: "cjs" }

export const writeCode = async (edition) => {
  const modules = fs.readdirSync(path.join(root, "src")).filter((file) => file.endsWith(".ts"))
  const bundle = await rollup({
    input: Object.fromEntries(modules.map((file) => [path.parse(file).name, path.join(root, "src", file)])),
    plugins: [resolving(edition), typescript],
    treeshake: { moduleSideEffects: false }
  })
  for (const format of edition.formats) {
    const extension = extensions[format]
    await bundle.write({
      dir: path.join(folderOf(edition), edition.out),
      format,
      paths: (id) => id.startsWith(".") ? id.replace(/js$/, extension) : id,
      entryFileNames: `[name].${extension}`,
      manualChunks: fileOf,
      intro: (chunk) => format === "cjs" && needsEffect(chunk) ? guard : "",
      chunkFileNames: `internal/shared/[name].${extension}`,
      // Peers have ES modules, or mark their CommonJS as made of one.
      interop: "esModule",
      generatedCode: "es2015",
      hoistTransitiveImports: false,
      sourcemap: true,
      sourcemapExcludeSources: true,
      sourcemapPathTransform: (source, map) =>
        path.relative(path.dirname(map), packedSource(edition, path.resolve(path.dirname(map), source)))
    })
  }
  await bundle.close()
}
