// Makes a clone ready to run: installs what package-lock.json says unless that is what is installed already.
// Plain Node without packages, because it runs before there are any.
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"

const packagesOf = (lockfile) => JSON.parse(readFileSync(lockfile, "utf8")).packages

// npm writes the second file last, so an install that was cut short does not count as done.
// Optional packages are left out of the comparison: most of them are binaries for other platforms.
const isInstalled = () => {
  try {
    const wanted = Object.entries(packagesOf("package-lock.json"))
    const installed = packagesOf("node_modules/.package-lock.json")
    return wanted.every(([path, { optional, version }]) =>
      path === "" || optional || installed[path]?.version === version
    )
  } catch {
    return false
  }
}

if (!isInstalled()) {
  console.log("Installing the development dependencies: npm ci")
  process.exitCode = spawnSync("npm ci", { shell: true, stdio: "inherit" }).status ?? 1
}
