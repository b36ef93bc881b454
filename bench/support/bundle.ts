/** The workers as plain JavaScript: they start three times as fast as by tsx, and there are dozens of them. */
import { bundle } from "../../test/support/bundle.js"

const source = new URL("../worker.ts", import.meta.url)

/** That of each edition: the same sources on Effect 4, and on Effect 3. */
export const workerFiles = {
  4: new URL("../.build/worker.js", import.meta.url),
  3: new URL("../.build/effect3/worker.js", import.meta.url)
}

export const bundleWorkers = async () => {
  await bundle(source, new URL("./", workerFiles[4]), "4")
  await bundle(source, new URL("./", workerFiles[3]), "3")
}
