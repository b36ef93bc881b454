import { clientSuite } from "./client.js"
import { worlds } from "./world.js"

for (const world of worlds) clientSuite(world)
