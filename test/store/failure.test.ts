/** What a refusal in Redis's own words means to the caller. The words are those of Redis 7.0, and of 6.2 where they differ. */
import { assert, describe, it } from "@effect/vitest"
import { classify } from "../../src/internal/redis/failure.js"

const refusal = (words: string) => {
  const { outcome, reason } = classify(Object.assign(new Error(words), { name: "ReplyError" }))
  return { reason, outcome }
}

/** As Redis 7 says it of a script, and as 6.2 does. */
const inScript = (words: string) => [
  `${words} script: f79e1836a657c40f51b57e85d7f2c096d8904fba, on @user_script:1.`,
  `ERR Error running script (call to f_f79e1836a657c40f51b57e85d7f2c096d8904fba): @user_script:7: ` +
  `@user_script: 7: -${words}`,
  `@user_script: 7: -${words}`
]

const refusesWrites = [
  "OOM command not allowed when used memory > 'maxmemory'.",
  "READONLY You can't write against a read only replica.",
  "NOREPLICAS Not enough good replicas to write.",
  "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."
]

describe("a refusal", () => {
  it("that passes by itself is RefusedForNow, and has changed nothing", () => {
    for (
      const words of [
        ...refusesWrites,
        ...refusesWrites.flatMap(inScript),
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN The cluster is down",
        "UNBLOCKED client unblocked via CLIENT UNBLOCK",
        "ERR max number of clients reached",
        // What Redis kills has not written.
        "ERR Script killed by user with SCRIPT KILL... script: 0642303b64897d34, on @user_script:1.",
        "ERR Error running script (call to f_0642303b64897d34): @user_script:1: Script killed by user with SCRIPT KILL..."
      ]
    ) assert.deepStrictEqual(refusal(words), { reason: "RefusedForNow", outcome: "NotApplied" }, words)
  })

  it("of a right, a password or a type is Refused, and has changed nothing", () => {
    for (
      const words of [
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "NOPERM this user has no permissions to access one of the keys used as arguments",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        ...inScript("WRONGTYPE Operation against a key holding the wrong kind of value"),
        "ERR WRONGTYPE the key of the fencing token holds something else script: 0f4920, on @user_script:1.",
        "ERR unknown command 'evalsha', with args beginning with: 'OOM', 'LOADING'",
        "SOMETHING new"
      ]
    ) assert.deepStrictEqual(refusal(words), { reason: "Refused", outcome: "NotApplied" }, words)
  })

  it("in the middle of a script leaves the outcome unknown", () => {
    for (
      const words of [
        "ERR The user executing the script can't run this command or subcommand script: 0f4920, on @user_script:1.",
        "ERR Error running script (call to f_0f4920): @user_script:1: @user_script: 1: The user executing the script " +
        "can't run this command or subcommand",
        "ERR user_script:3: attempt to compare nil with number script: 0f4920, on @user_script:3."
      ]
    ) assert.deepStrictEqual(refusal(words), { reason: "Refused", outcome: "Unknown" }, words)
  })

  it("is known by its code, not by what somebody's key says", () => {
    assert.strictEqual(refusal("ERR no such key OOM").reason, "Refused")
    assert.strictEqual(refusal("NOPERM no access to key BUSY LOADING").reason, "Refused")
  })
})

it("words that are not the server's are a connection's, and leave the outcome unknown", () => {
  assert.deepInclude(classify(new Error("Connection is closed.")), { reason: "Unreachable", outcome: "Unknown" })
  assert.deepInclude(classify(new Error("Command timed out")), { reason: "Timeout", outcome: "Unknown" })
  assert.deepInclude(classify("a string"), { reason: "Unreachable", outcome: "Unknown" })
})

it("a cause is the driver's words and nothing else: its error carries the arguments", () => {
  const error = Object.assign(new Error("NOPERM no"), { name: "ReplyError", command: { args: ["secret"] } })
  const { cause } = classify(error)
  assert.deepStrictEqual(Object.keys(Object(cause)), [])
  assert.notInclude(JSON.stringify(cause) + String(cause), "secret")
})
