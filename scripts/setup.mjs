// Makes folders ready to run: installs what their package-lock.json says unless that is what is installed already.
// The folders are its arguments; without any it is the clone itself.
// Plain Node without packages, because it runs before there are any.
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"

const packagesOf = (lockfile) => JSON.parse(readFileSync(lockfile, "utf8")).packages

// npm writes the second file last, so an install that was cut short does not count as done.
// Optional packages are left out of the comparison: most of them are binaries for other platforms.
const isInstalled = (folder) => {
  try {
    const wanted = Object.entries(packagesOf(join(folder, "package-lock.json")))
    const installed = packagesOf(join(folder, "node_modules/.package-lock.json"))
    return wanted.every(([path, { optional, version }]) =>
      path === "" || optional || installed[path]?.version === version
    )
  } catch {
    return false
  }
}

const folders = process.argv.length > 2 ? process.argv.slice(2) : ["."]
for (const folder of folders) {
  if (isInstalled(folder)) continue
  console.log(`Installing the development dependencies${folder === "." ? "" : ` of ${folder}`}: npm ci`)
  const status = spawnSync("npm ci", { cwd: folder, shell: true, stdio: "inherit" }).status ?? 1
  if (status !== 0) process.exit(status)
}
