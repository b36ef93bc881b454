import { memory, redis } from "../dlock/world.js"
import { jobs } from "./jobs.js"
import { leading } from "./leading.js"
import { sharing } from "./sharing.js"

for (const world of [memory, redis]) {
  sharing(world)
  leading(world)
  jobs(world)
}
