import { serverSuite, withoutRedis } from "./server.js"
import { worlds } from "./world.js"

for (const world of worlds) serverSuite(world)
withoutRedis()
