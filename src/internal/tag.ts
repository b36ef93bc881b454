/** The service's tag, apart from `Dlock.ts` so that the modules it is made of can use it. */
import * as Context from "effect/Context"
import type { Service } from "../Dlock.js"

export class Dlock extends Context.Tag("effect-dlock/Dlock")<Dlock, Service>() {}
