/** What is left of flights when everybody is through and all marks have had their time: nothing. */
import type { World } from "../world.js"

export const checkNothingLeft = (world: World): void => {
  for (const left of world.server.backend.flightsLeft()) world.violate("nothing is left", left)
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
