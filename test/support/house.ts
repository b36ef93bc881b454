/**
 * The rules of the house, read off the syntax tree of `src`: who may import whom, what may not be called, how long a
 * file or function may be, which doc tags an export has. Sources are given as texts, so that a test can feed bad ones.
 */
import * as path from "node:path"
import ts from "typescript"

/** Texts by path below `src`, with forward slashes. */
export type Sources = Readonly<Record<string, string>>

type Files = ReadonlyMap<string, ts.SourceFile>
type Rule = (files: Files) => Array<string>

const parse = (sources: Sources): Files =>
  new Map(
    Object.entries(sources).map(([name, text]) => [name, ts.createSourceFile(name, text, ts.ScriptTarget.Latest, true)])
  )

const walk = (node: ts.Node, visit: (node: ts.Node) => void): void => {
  visit(node)
  ts.forEachChild(node, (child) => walk(child, visit))
}

const lineAt = (file: ts.SourceFile, position: number): number => file.getLineAndCharacterOfPosition(position).line + 1
const at = (file: ts.SourceFile, node: ts.Node): string => `${file.fileName}:${lineAt(file, node.getStart(file))}`

/** A rule that looks at one node at a time, and says what is wrong with it. */
const eachNode = (problem: (node: ts.Node, file: ts.SourceFile) => string | undefined): Rule => (files) => {
  const found: Array<string> = []
  for (const file of files.values()) {
    walk(file, (node) => {
      const message = problem(node, file)
      if (message !== undefined) found.push(`${at(file, node)} ${message}`)
    })
  }
  return found
}

// ---------------------------------------------------------------------------------------------------------- imports

interface Import {
  readonly specifier: string
  /** Whether it is there at run time. `import { type A }` is: only `import type` is erased. */
  readonly isValue: boolean
}

const importOf = (node: ts.Node): Import | undefined => {
  const make = (specifier: ts.Node | undefined, isValue: boolean) =>
    specifier !== undefined && ts.isStringLiteralLike(specifier) ? { specifier: specifier.text, isValue } : undefined
  if (ts.isImportDeclaration(node)) return make(node.moduleSpecifier, node.importClause?.isTypeOnly !== true)
  if (ts.isExportDeclaration(node)) return make(node.moduleSpecifier, !node.isTypeOnly)
  if (ts.isExternalModuleReference(node)) return make(node.expression, true)
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    return make(node.arguments[0], true)
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return make(node.argument.literal, false)
  return undefined
}

const isRelative = (specifier: string): boolean => specifier.startsWith(".")

const targetOf = (from: string, specifier: string): string =>
  path.posix.join(path.posix.dirname(from), specifier).replace(/\.js$/, ".ts")

/** The layers from the lowest to the highest. The first that matches counts: what is not listed is a leaf. */
const layers: ReadonlyArray<readonly [name: string, pattern: RegExp]> = [
  [
    "leaf",
    /^(DlockError|internal\/(?!store\.|flightStore\.|dlock\.|locks?\.|multi\.|semaphore\.|readWriteLock\.|singleton\.|fanout\.|httpFanout\.)[^/]+)\.ts$/
  ],
  ["store port", /^internal\/(store|flightStore)\.ts$/],
  ["engine or adapter", /^internal\/[^/]+\//],
  ["assembly", /^internal\/(dlock|locks?|multi|semaphore|readWriteLock|singleton|fanout|httpFanout)\.ts$/],
  ["public module", /^[A-Z][^/]*\.ts$/],
  ["index", /^index\.ts$/]
]

const layerOf = (file: string): number => layers.findIndex(([, pattern]) => pattern.test(file))

/** The folder of a file in the layer where folders are siblings: the engine and each adapter. */
const siblingOf = (file: string): string | undefined => /^internal\/([^/]+)\//.exec(file)?.[1]

/** Down to a lower layer, or inside the same one. */
const mayImport = (from: string, to: string): boolean =>
  layerOf(to) < layerOf(from) || (layerOf(to) === layerOf(from) && siblingOf(to) === siblingOf(from))

const describeFile = (file: string): string => `${file} (${layers[layerOf(file)]?.[0] ?? "of no layer"})`

const valueImportsGoDown = eachNode((node, file) => {
  const found = importOf(node)
  if (found?.isValue !== true) return undefined
  if (found.specifier.startsWith("effect-dlock")) return "imports its own package: use a relative path"
  if (!isRelative(found.specifier)) return undefined
  const target = targetOf(file.fileName, found.specifier)
  return layerOf(file.fileName) >= 0 && layerOf(target) >= 0 && mayImport(file.fileName, target)
    ? undefined
    : `${describeFile(file.fileName)} must not import ${describeFile(target)}`
})

const valueImportsHaveNoCycle: Rule = (files) => {
  const found: Array<string> = []
  const done = new Set<string>()
  const visit = (name: string, trail: ReadonlyArray<string>): void => {
    if (trail.includes(name)) {
      found.push(`import cycle: ${[...trail.slice(trail.indexOf(name)), name].join(" -> ")}`)
      return
    }
    const file = files.get(name)
    if (file === undefined || done.has(name)) return
    walk(file, (node) => {
      const next = importOf(node)
      if (next?.isValue === true && isRelative(next.specifier)) visit(targetOf(name, next.specifier), [...trail, name])
    })
    done.add(name)
  }
  for (const name of files.keys()) visit(name, [])
  return found
}

const driverStaysInItsFolder = eachNode((node, file) => {
  const specifier = importOf(node)?.specifier
  return specifier !== undefined && /^ioredis\d?($|\/)/.test(specifier) && siblingOf(file.fileName) !== "redis"
    ? `imports ${specifier}: only internal/redis may`
    : undefined
})

const httpStaysOptional = eachNode((node, file) => {
  const specifier = importOf(node)?.specifier
  return specifier !== undefined && /^(effect\/http|@effect\/platform|#http-edition)($|\/)/.test(specifier) &&
      !/^(HttpFanout\.ts|internal\/httpFanout\.ts|internal\/http\/)/.test(file.fileName)
    ? `imports ${specifier}: only HttpFanout may, who uses nothing else need not load it`
    : undefined
})

/** What a subpath alone gives must not be loaded with the rest. */
const httpFanoutIsASubpath = eachNode((node, file) => {
  const found = importOf(node)
  if (found === undefined || !isRelative(found.specifier) || /^internal\/http(\/|Fanout)/.test(file.fileName)) {
    return undefined
  }
  const target = targetOf(file.fileName, found.specifier)
  return /^(HttpFanout|internal\/httpFanout|internal\/http\/.*)\.ts$/.test(target) && file.fileName !== "HttpFanout.ts"
    ? `imports ${target}, and with it all of HTTP`
    : undefined
})

// --------------------------------------------------------------------------------------------------------- the code

const bannedNames = new Set(["console", "process", "setImmediate", "setInterval", "setTimeout"])
const bannedMembers = new Set(["Date.now", "Math.random", ...[...bannedNames].map((name) => `globalThis.${name}`)])
const bannedModule = /^(node:)?(console|process|timers)($|\/)/

/** Whether the identifier only names a member or declares something: `x.process`, `{ process: 1 }`. */
const isOnlyAName = (node: ts.Identifier): boolean => (node.parent as { readonly name?: ts.Node }).name === node

/** When the host has read its sockets is no time, and Effect does not tell. */
const bundlesWrites = (node: ts.Identifier, file: ts.SourceFile): boolean =>
  node.text === "setImmediate" && file.fileName === "internal/redis/link.ts"

const noHostGlobals = eachNode((node, file) => {
  const say = (what: string) => `uses ${what}: take it from Effect (Clock, Random, Effect.sleep, Effect.log, Config)`
  const imported = importOf(node)?.specifier
  if (imported !== undefined && bannedModule.test(imported)) return say(imported)
  if (ts.isPropertyAccessExpression(node) && bannedMembers.has(node.getText())) return say(node.getText())
  if (ts.isNewExpression(node) && node.expression.getText() === "Date" && (node.arguments?.length ?? 0) === 0) {
    return say("new Date()")
  }
  return ts.isIdentifier(node) && bannedNames.has(node.text) && !isOnlyAName(node) && !bundlesWrites(node, file)
    ? say(node.text)
    : undefined
})

const noAny = eachNode((node) => node.kind === ts.SyntaxKind.AnyKeyword ? "uses any: use unknown" : undefined)

const maxFileLines = 350
const maxFunctionLines = 70

const filesAreShort: Rule = (files) =>
  [...files.values()].flatMap((file) => {
    const lines = lineAt(file, file.text.trimEnd().length)
    return lines > maxFileLines ? [`${file.fileName} has ${lines} lines: at most ${maxFileLines}`] : []
  })

/** The lines that template strings add to a node: Lua scripts, which are not TypeScript code. */
const templateLines = (node: ts.Node, file: ts.SourceFile): number => {
  if (ts.isTemplateLiteral(node)) return lineAt(file, node.end) - lineAt(file, node.getStart(file))
  let lines = 0
  ts.forEachChild(node, (child) => {
    lines += templateLines(child, file)
  })
  return lines
}

const functionsAreShort = eachNode((node, file) => {
  if (!ts.isFunctionLike(node)) return undefined
  const lines = lineAt(file, node.end) - lineAt(file, node.getStart(file)) + 1 - templateLines(node, file)
  return lines > maxFunctionLines ? `is a function of ${lines} lines: at most ${maxFunctionLines}` : undefined
})

// --------------------------------------------------------------------------------------------------------- the docs

const nameOf = (node: ts.Node): string | undefined =>
  ts.isVariableStatement(node)
    ? node.declarationList.declarations.map((_) => _.name.getText()).join(", ")
    : (node as { readonly name?: ts.Node }).name?.getText()

/**
 * The exports of a public module that need doc tags: all but the further overloads of a function, and what another
 * public module exports, because that one has the docs.
 */
const documentedNodes = (file: ts.SourceFile): Array<ts.Node> =>
  file.statements.flatMap((statement, index): Array<ts.Node> => {
    if (ts.isExportDeclaration(statement)) {
      const specifier = importOf(statement)?.specifier
      if (specifier?.startsWith("./") === true && !specifier.startsWith("./internal/")) return []
      return statement.exportClause !== undefined && ts.isNamedExports(statement.exportClause)
        ? [...statement.exportClause.elements]
        : [statement]
    }
    if (ts.isExportAssignment(statement)) return [statement]
    const isExported = ts.canHaveModifiers(statement) &&
      ts.getModifiers(statement)?.some((_) => _.kind === ts.SyntaxKind.ExportKeyword) === true
    const before = file.statements[index - 1]
    const isOverload = ts.isFunctionDeclaration(statement) && before !== undefined &&
      ts.isFunctionDeclaration(before) && nameOf(before) === nameOf(statement)
    return isExported && !isOverload ? [statement] : []
  })

const exportsHaveDocTags: Rule = (files) =>
  [...files.values()].filter((file) => !file.fileName.startsWith("internal/")).flatMap((file) =>
    documentedNodes(file).flatMap((node) => {
      const tags = new Set(ts.getJSDocTags(node).map((tag) => tag.tagName.text))
      const missing = ["since", "category"].filter((tag) => !tags.has(tag) && !tags.has("internal"))
      return missing.map((tag) => `${at(file, node)} ${nameOf(node) ?? "the export"} has no @${tag}`)
    })
  )

const rules = {
  "value imports only go down": valueImportsGoDown,
  "value imports have no cycle": valueImportsHaveNoCycle,
  "ioredis is imported in internal/redis only": driverStaysInItsFolder,
  "HTTP is imported by HttpFanout only": httpStaysOptional,
  "HttpFanout is imported by nobody": httpFanoutIsASubpath,
  "clock, randomness, timers, process and console come from Effect": noHostGlobals,
  "nothing is typed any": noAny,
  "no file is over 350 lines": filesAreShort,
  "no function is over 70 lines": functionsAreShort,
  "every public export has @since and @category": exportsHaveDocTags
} satisfies Record<string, Rule>

/** The name of a rule: what is true of sources that keep it. */
export type RuleName = keyof typeof rules

/** All rules. */
export const ruleNames = Object.keys(rules) as Array<RuleName>

/** What breaks the rule, one line each. */
export const violations = (rule: RuleName, sources: Sources): Array<string> => rules[rule](parse(sources))
