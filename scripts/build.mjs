// Writes `dist`: the declarations file by file, as the compiler makes them, and the code of each public module with what
// several of them share beside it. Few files, because to find and read sixty of them is what an import took longest for.
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { rollup } from "rollup"
import ts from "typescript"

const root = fileURLToPath(new URL("..", import.meta.url))
const dist = path.join(root, "dist")

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

const typescript = {
  name: "typescript",
  resolveId: (id, importer) => {
    if (importer === undefined || !id.startsWith(".")) return undefined
    // What re-exports whole modules stays that, or bundlers could not look into them.
    if (path.basename(importer) === "index.ts") return { id, external: true }
    return path.join(path.dirname(importer), id.replace(/\.js$/, ".ts"))
  },
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

/**
 * Nearly all is one file: whoever uses a part of the service needs the service. The errors are of use without it, say in a
 * browser, and HTTP needs a peer of its own.
 */
const fileOf = (id) => {
  const name = path.relative(path.join(root, "src"), id)
  if (name === "DlockError.ts") return "errors"
  return /^(HttpFanout\.ts|internal[/\\]http)/.test(name) ? undefined : "dlock"
}

const writeCode = async () => {
  const modules = fs.readdirSync(path.join(root, "src")).filter((file) => file.endsWith(".ts"))
  const bundle = await rollup({
    input: Object.fromEntries(modules.map((file) => [path.parse(file).name, path.join(root, "src", file)])),
    external: (id) => !id.startsWith(".") && !path.isAbsolute(id),
    plugins: [typescript],
    treeshake: { moduleSideEffects: false }
  })
  for (const [format, extension] of [["es", "js"], ["cjs", "cjs"]]) {
    await bundle.write({
      dir: dist,
      format,
      paths: (id) => id.startsWith(".") ? id.replace(/js$/, extension) : id,
      entryFileNames: `[name].${extension}`,
      manualChunks: fileOf,
      chunkFileNames: `internal/shared/[name].${extension}`,
      // Peers have ES modules, or mark their CommonJS as made of one.
      interop: "esModule",
      generatedCode: "es2015",
      hoistTransitiveImports: false,
      sourcemap: true,
      sourcemapExcludeSources: true
    })
  }
  await bundle.close()
}

const writeDeclarations = () => {
  execFileSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
    cwd: root,
    stdio: "inherit"
  })
  // CommonJS needs its own, or TypeScript would take them for those of an ES module.
  for (const file of fs.readdirSync(dist, { recursive: true, encoding: "utf8" })) {
    if (!/\.d\.ts(\.map)?$/.test(file)) continue
    const text = fs.readFileSync(path.join(dist, file), "utf8")
    fs.writeFileSync(
      path.join(dist, file.replace(".d.ts", ".d.cts")),
      text.replace(/((?:from |import\()"\.[^"\n]*)\.js"/g, "$1.cjs\"")
        .replace(/(\/\/# sourceMappingURL=.*|"file":".*)\.d\.ts/, "$1.d.cts")
    )
  }
}

fs.rmSync(dist, { recursive: true, force: true })
writeDeclarations()
await writeCode()
