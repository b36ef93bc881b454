/** Projects of somebody else that install a packed edition, outside of ours: nothing is found in our node_modules by accident. */
import { execFile } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

export const root = fileURLToPath(new URL("../..", import.meta.url))
export const workspace = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "effect-dlock-package-")))

export interface Edition {
  readonly major: 3 | 4
  readonly other: 3 | 4
  readonly formats: ReadonlyArray<"module" | "commonjs">
  /** Where Effect's HTTP is. */
  readonly http: string
  /** Beside the newest Effect of its major. */
  readonly peers: ReadonlyArray<string>
  readonly optionalPeers: ReadonlyArray<string>
  /** What the package has beside the build and the documents. */
  readonly sources: ReadonlyArray<string>
  readonly attw: string
}

const ioredis = process.env["IOREDIS"] === "5" ? "ioredis@5" : "ioredis@6"

export const editions: ReadonlyArray<Edition> = [
  {
    major: 4,
    other: 3,
    formats: ["module"],
    http: "effect/http",
    peers: ["effect@4", ioredis],
    optionalPeers: [],
    sources: ["src"],
    attw: "esm-only"
  },
  {
    major: 3,
    other: 4,
    formats: ["module", "commonjs"],
    http: "@effect/platform",
    peers: ["effect@3", ioredis],
    optionalPeers: ["@effect/platform"],
    sources: ["shim", "src"],
    attw: "node16"
  }
]

/** What the command prints. Throws with all it printed when it fails. */
export const run = async (cwd: string, command: string, ...args: ReadonlyArray<string>): Promise<string> => {
  try {
    const child = promisify(execFile)(command, args, { cwd, encoding: "utf8", maxBuffer: 2 ** 26 })
    child.child.stdin?.end()
    return (await child).stdout
  } catch (error) {
    const { stderr, stdout } = error as { readonly stderr: string; readonly stdout: string }
    throw new Error(`${command} ${args.join(" ")}\n${stdout}${stderr}`, { cause: error })
  }
}

/** What is told of a command that should fail. */
export const failure = (running: Promise<string>): Promise<string> =>
  running.then((printed) => `It worked, and printed ${printed}`, String)

export const bin = (name: string): string => path.join(root, "node_modules", ".bin", name)

export const evaluate = (cwd: string, type: "module" | "commonjs", code: string, ...args: ReadonlyArray<string>) =>
  run(cwd, process.execPath, `--input-type=${type}`, "--eval", code, ...args)

const project = (name: string): string => {
  const folder = path.join(workspace, name)
  fs.mkdirSync(folder)
  fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }))
  return folder
}

const npm = (cwd: string, ...args: ReadonlyArray<string>) =>
  run(cwd, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error", ...args)

const pnpm = (cwd: string, ...args: ReadonlyArray<string>) => run(cwd, bin("pnpm"), "add", "--no-color", ...args)

export const filesIn = (folder: string, end: RegExp): ReadonlyArray<string> =>
  fs.readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => end.test(file)).map((file) => path.join(folder, file))

export const declarationsIn = (folder: string) => filesIn(folder, /\.d\.c?ts$/)

type Programs = Readonly<Record<string, string>>

/** Compiles the programs where the package is installed, and all its declarations. Says what is wrong with them. */
const compile = (folder: string, programs: Programs): Promise<string> => {
  for (const [name, text] of Object.entries(programs)) fs.writeFileSync(path.join(folder, name), text)
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    target: "ES2022",
    module: "NodeNext",
    types: ["node"]
  }
  const files = [...Object.keys(programs), ...declarationsIn(path.join(folder, "node_modules", "effect-dlock"))]
  fs.writeFileSync(path.join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files }))
  return run(folder, bin("tsc"), "--project", folder).then(() => "", String)
}

export interface Consumers {
  readonly tarball: string
  readonly npm: string
  readonly pnpm: string
  readonly compileErrors: string
  /** Beside the other major: by pnpm, and by npm with `--legacy-peer-deps`. */
  readonly wrong: ReadonlyArray<string>
  /** What npm says to that without it. */
  readonly refusal: string
  /** What pnpm says, and goes on. */
  readonly warning: string
}

export const install = async (edition: Edition, programs: Programs): Promise<Consumers> => {
  const { major, optionalPeers, other, peers } = edition
  const name = (await run(
    root,
    "npm",
    "pack",
    "--silent",
    "--pack-destination",
    workspace,
    `./dist/effect${major}`
  )).trim()
  const tarball = path.join(workspace, name)
  const byNpm = project(`npm-${major}`)
  const byPnpm = project(`pnpm-${major}`)
  const wrongByNpm = project(`wrong-npm-${major}`)
  const wrongByPnpm = project(`wrong-pnpm-${major}`)
  const wrong = [tarball, `effect@${other}`, ioredis]
  const [compileErrors, , refusal, warning] = await Promise.all([
    npm(byNpm, tarball, ...peers, ...optionalPeers, "@types/node@22").then(() => compile(byNpm, programs)),
    pnpm(byPnpm, tarball, ...peers),
    failure(npm(wrongByNpm, ...wrong)).then(async (refusal) => {
      await npm(wrongByNpm, "--legacy-peer-deps", ...wrong)
      return refusal
    }),
    pnpm(wrongByPnpm, ...wrong)
  ])
  return { tarball, npm: byNpm, pnpm: byPnpm, compileErrors, wrong: [wrongByNpm, wrongByPnpm], refusal, warning }
}

/**
 * The oldest Node that is supported. These tests may be run by a newer one, which `npm run` finds first: then it is the one
 * outside of node_modules, if that is the right one, or else npm's.
 */
export const findNode20 = async (): Promise<string> => {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter).filter((folder) => !folder.includes("node_modules"))
  for (const candidate of [process.execPath, ...folders.map((folder) => path.join(folder, "node"))]) {
    const version = await run(workspace, candidate, "--version").catch(() => "")
    if (version.startsWith("v20.")) return candidate
  }
  const folder = project("node20")
  await npm(folder, "node@20")
  return path.join(folder, "node_modules", "node", "bin", "node")
}
