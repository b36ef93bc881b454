/**
 * Vitest reporter: closes the run with one plain line, `N passed, N failed`, for tools that read the last line.
 * An error outside of any test (a file that cannot be loaded, a hook, an unhandled rejection) counts as a failure.
 */
import type { Reporter, SerializedError, TestModule } from "vitest/node"

/** See the head of the file. */
export default class Summary implements Reporter {
  private line: string | undefined

  onInit(): void {
    // At exit, because vitest and the global teardown may still print after the run has ended.
    process.once("exit", () => {
      if (this.line !== undefined) console.log(this.line)
    })
  }

  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<SerializedError>): void {
    const count = { passed: 0, failed: unhandled.length, skipped: 0, pending: 0 }
    for (const module of modules) {
      count.failed += module.errors().length
      for (const suite of module.children.allSuites()) count.failed += suite.errors().length
      for (const test of module.children.allTests()) count[test.result().state]++
    }
    // A test is still pending when the run was cancelled: it has not passed.
    const skipped = count.skipped + count.pending
    this.line = `${count.passed} passed, ${count.failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`
  }
}
