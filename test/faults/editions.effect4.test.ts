/** Processes of the editions for Effect 4 and Effect 3 on one Redis: one protocol, one set of keys and messages. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { inject } from "vitest"
import type { Heard } from "../soak/record.js"
import { answersOf, runsOf, turnsOf } from "../soak/record.js"
import { judged } from "./judged.js"
import { encodedAlike, kindsCount } from "./outcomes.js"
import { commandTimeout, is, note, redis, soakMillis, test, until, workerOf } from "./support.js"
import { followersOf, upstream } from "./upstream.js"

const files = () => ({ "Effect 4": inject("faultWorker"), "Effect 3": inject("faultWorker3") })

test("contend for everything, pass it on to each other and share flights", () =>
  Effect.gen(function*() {
    const { url } = yield* redis
    const options = { url, key: "all", count: 3, jobMillis: 30 }
    const each = Object.entries(files()).flatMap(([edition, file]) => [[edition, file], [edition, file]] as const)
    const workers = yield* Effect.forEach(each, ([, file]) => workerOf("all", options, file), {
      concurrency: "unbounded"
    })
    yield* Effect.sleep(soakMillis(4))
    const { processes } = yield* judged({
      workers,
      nameOf: (i) => `${each[i]![0]}, worker ${i}`,
      url,
      commandTimeout,
      losses: []
    })

    // By their fencing tokens, whose turn came after whose.
    const editionOf = ({ name }: Heard) => name.split(",")[0]
    const turns = processes.flatMap((process) =>
      turnsOf(process).flatMap(({ asked, entered }) =>
        asked.what === "lock"
          ? (entered?.fences ?? []).map(([key, fence]) => ({ key, fence, edition: editionOf(process) }))
          : []
      )
    ).sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : a.fence - b.fence)
    const passedOn = turns.filter(({ edition, key }, i) =>
      turns[i + 1]?.key === key && turns[i + 1]?.edition !== edition
    )
    const runs = new Map(processes.flatMap((process) => runsOf(process).map(({ name }) => [name, editionOf(process)])))
    const shared = processes.flatMap((process) =>
      answersOf(process).filter(({ name }) => name !== undefined && runs.get(name) !== editionOf(process))
    )
    note("editions: locks passed on from one to the other", passedOn.length)
    note("editions: outcomes shared with the other", shared.length)
    assert.isAbove(passedOn.length, 10)
    assert.isAbove(shared.length, 10)
  }))

for (const leader of ["Effect 4", "Effect 3"] as const) {
  test(`share the response to an HTTP request of ${leader}`, () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const { answer, asked, url: key } = yield* upstream
      const follower = leader === "Effect 4" ? "Effect 3" : "Effect 4"
      const workers = yield* Effect.forEach(
        [leader, follower] as const,
        (edition) => workerOf("request", { url, key, count: 5 }, files()[edition])
      )
      workers[0]!.send("ask")
      yield* until(asked, 5_000, (count) => count === 1)
      workers[1]!.send("ask")
      yield* until(yield* followersOf(url), 5_000, (count) => count === 1)
      answer()
      const got = yield* Effect.promise(() => Promise.all(workers.map((worker) => worker.next(is("got")))))
      assert.deepStrictEqual(got.map(({ bodies, count }) => [count, bodies]), got.map(() => [5, ["answer 1"]]))
      assert.strictEqual(asked(), 1)
    }))

  test(`share every kind of outcome, with ${leader} in the lead`, () =>
    Effect.gen(function*() {
      const { url } = yield* redis
      const follower = leader === "Effect 4" ? "Effect 3" : "Effect 4"
      const [leads, follows] = yield* Effect.forEach(
        [leader, follower] as const,
        (edition) => workerOf("outcomes", { url, key: "k" }, files()[edition])
      )
      leads!.send("ask")
      yield* until(() => leads!.messages.filter(is("ran")).length === kindsCount)
      follows!.send("ask")
      const [its, theirs] = yield* Effect.promise(() =>
        Promise.all([leads!.next(is("got"), 5_000), follows!.next(is("got"), 5_000)])
      )
      assert.deepStrictEqual(follows!.messages.filter(is("ran")), [])
      assert.lengthOf(its.all, kindsCount)
      assert.deepStrictEqual(theirs.all, its.all)
      assert.deepInclude(its.all, ["sold", "failure", {
        class: "Sold",
        _tag: "Sold",
        left: 2,
        at: "Date 1970-01-02T00:00:00.000Z"
      }])
      assert.deepInclude(its.all, ["ticket", "success", {
        seat: 7,
        at: "Date 1970-01-02T00:00:00.000Z",
        tags: "Set a,b",
        ...encodedAlike
      }])
    }))
}
