/** Preloaded (`--import`), it lets a process that runs the sources run the edition for Effect 3. */
import { register } from "node:module"

register("./hooks.mjs", import.meta.url)
