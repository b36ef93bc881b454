import { acquiring } from "./acquiring.js"
import { bodies } from "./bodies.js"
import { holding } from "./holding.js"
import { multi } from "./multi.js"
import { readWrite } from "./readWrite.js"
import { reentrancy } from "./reentrancy.js"
import { semaphore } from "./semaphore.js"
import { singleton } from "./singleton.js"
import { memory, redis } from "./world.js"

for (const world of [memory, redis]) {
  acquiring(world)
  bodies(world)
  holding(world)
  multi(world)
  semaphore(world)
  readWrite(world)
  reentrancy(world)
  singleton(world)
}
