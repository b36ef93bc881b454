/** What is left of flights when everybody is through and all marks have had their time: nothing. */
import { inspect } from "node:util"
import { isOver } from "../../../src/internal/memory/flightModel.js"
import type { World } from "../world.js"

export const checkNothingLeft = (world: World): void => {
  const { server } = world
  for (const [id, flight] of server.memory.flights) {
    if (!isOver(flight, server.nowMillis())) world.violate("nothing is left", `${id}: ${inspect(flight)}`)
  }
  for (const run of world.flights.running) {
    if (run.process.state !== "dead") world.violate("nothing is left", `run ${run.name} of ${run.id}`)
  }
  for (const { flights, process } of world.members) {
    if (process.state === "dead" || flights === undefined) continue
    const { byToken, finishing, keeper, live, open } = flights
    // A service that has closed waits a second for what it has sent, and hears of nothing afterwards.
    const left = [byToken, flights.closed ? live : finishing, live, open].map(({ size }) => size)
    if (left.some((size) => size > 0) || keeper.prober.waiting > 0 || keeper.heap.peek() !== undefined) {
      world.violate("nothing is left", `${left.join()}, ${keeper.prober.waiting} in ${process.name}`)
    }
  }
}
