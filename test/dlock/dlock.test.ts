import { acquiring } from "./acquiring.js"
import { holding } from "./holding.js"
import { memory, redis } from "./world.js"

for (const world of [memory, redis]) {
  acquiring(world)
  holding(world)
}
